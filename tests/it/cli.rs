//! The command line as people and their scripts use it: the real program beside a real server.

mod admin;
mod backtests;
mod deployments;
mod dev;
mod exits;
mod machine;
mod runs;
mod timetravel;
