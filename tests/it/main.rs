//! The tests, one module a subject.

mod harness;

mod replay;
