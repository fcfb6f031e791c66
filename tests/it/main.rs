//! The tests, one module a subject. Each speaks to a whole server through its public API, and waits
//! for what happens instead of sleeping.

#![expect(unreachable_pub, reason = "nothing can be reached from outside a test binary")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod history;
mod postgres;
mod program;

mod adversary;
mod api;
mod backtests;
mod batches;
mod branches;
mod bulk;
mod calls;
mod changes;
mod children;
mod cli;
mod comparisons;
mod crashes;
mod dashboard;
mod deploy;
mod dialect;
mod eviction;
mod fairness;
mod floors;
mod gates;
mod hooks;
mod inside;
mod journal;
mod jwt;
mod lifecycle;
mod limits;
mod lives;
mod network;
mod noise;
mod openapi;
mod packets;
mod parsers;
mod places;
mod plans;
mod process;
mod queues;
mod rate;
mod realtime;
mod replay;
mod reports;
mod retention;
mod rules;
mod samples;
mod sandboxed;
mod schedules;
mod sessions;
mod shown;
mod statistics;
mod storage;
mod streams;
mod survival;
mod suspended;
mod tapes;
mod timetravel;
mod tokens;
mod trace;
mod versions;
mod waitpoints;
mod waits;
