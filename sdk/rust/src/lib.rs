//! Write [Dacapo](https://github.com/dacapo/dacapo) tasks in Rust.
//!
//! A *task* is a function from a JSON payload to a JSON output. A component holds one or more of
//! them; Dacapo runs them, in a sandbox, and repeats what fails.
//!
//! # A first task
//!
//! `Cargo.toml`:
//!
//! ```toml
//! [package]
//! name = "hello"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! dacapo = { path = "…/sdk/rust" }
//! serde = { version = "1", features = ["derive"] }   # for #[derive(Deserialize)]
//! ```
//!
//! `src/lib.rs`:
//!
//! ```
//! use dacapo::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Greeting {
//!     name: String,
//! }
//!
//! fn hello(ctx: &Context, greeting: Greeting) -> Result<String> {
//!     info!(run = ctx.run.id; "greeting {}", greeting.name);
//!     Ok(format!("Hello, {}!", greeting.name))
//! }
//!
//! dacapo::tasks![task("hello", hello)];
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component,
//! `target/wasm32-wasip2/release/hello.wasm`. (`rustup target add wasm32-wasip2` once.)
//!
//! # Payloads and outputs
//!
//! Any type that serde can read or write. A payload that does not fit fails the run with
//! `InvalidPayload`, which says where, for example `items[2].price`, and is not retried.
//!
//! # Errors and retries
//!
//! `?` turns every error into a [`TaskError`]. Whether there is another attempt says the task's
//! [`Retry`] policy, unless the error itself knows better:
//!
//! ```
//! # use dacapo::prelude::*;
//! # use std::time::Duration;
//! fn pay(ctx: &Context, cents: u32) -> Result<()> {
//!     if cents == 0 {
//!         return Err(TaskError::new("NothingToPay", "the amount is 0").abort());
//!     }
//!     if ctx.run.is_replay {
//!         return Ok(()); // was paid when it ran first
//!     }
//!     http::post("https://bank.example/pay").json(cents).send()?.error_for_status()?;
//!     Ok(())
//! }
//!
//! dacapo::tasks![
//!     task("pay", pay)
//!         .description("Pays a bill.")
//!         .retry(Retry::attempts(5).min_delay(Duration::from_secs(2)))
//!         .queue(Queue::new("bank").concurrency_limit(3))
//!         .max_duration(Duration::from_secs(60)),
//! ];
//! ```
//!
//! A panic is not an error: it ends the run at once, as *crashed*, without another attempt.
//!
//! # Waiting
//!
//! A task may wait for days, for an answer or for other runs ([`wait`], [`runs`], [`tokens`]), and
//! costs nothing meanwhile:
//!
//! ```no_run
//! # use dacapo::prelude::*;
//! # use std::time::Duration;
//! fn trial(_: &Context, customer: u64) -> Result<()> {
//!     wait::sleep(Duration::from_secs(14 * 24 * 3600));
//!     runs::child("end-trial", customer).trigger_and_wait::<()>()
//!         .map_err(TaskError::from)
//! }
//! ```
//!
//! The server keeps every answer that it gave to the run. Where the run's memory is gone when the wait
//! ends, a fresh instance begins the task anew, gets the same answers until it is where it was, and
//! goes on from there: what was sent is not sent again. For that a task must ask the same things in the
//! same order when it gets the same answers, or the run fails with `NonDeterministic`. Rust code does
//! so by itself: clocks, random numbers (the order of a `HashMap` included), environment variables and
//! HTTP responses are answers. What a task must not do:
//!
//! - decide by what is no answer: the times and numbers that the file system gives its files, or how
//!   much CPU time something took;
//! - write into `/scratch` what it cannot write again when it is brought back: files are made anew by the
//!   same code, they are not kept;
//! - wait with [`std::thread::sleep`]: that keeps its place in the queue and its memory.
//!
//! # Hooks
//!
//! Functions that the server calls around a run: [`Task::on_start`], [`Task::on_success`],
//! [`Task::on_failure`], [`Task::on_cancel`], [`Task::on_complete`].
//!
//! # What a task can use
//!
//! - [`Context`]: which run, which attempt, whether it is a replay.
//! - [`mod@log`]: `info!`, `warn!`, …, and spans.
//! - [`metadata`]: progress that callers can watch.
//! - [`http`]: requests to other services.
//! - [`wait`], [`runs`], [`tokens`]: what takes long, and other tasks.
//! - [`tags`], [`streams`]: what others find the run by, and what they can read while it goes on.
//! - `std::fs` in `/scratch`, which is empty at first and deleted afterwards; `std::env::var` for
//!   the environment's variables; `std::time`; `println!`, which goes to the log. No threads, no
//!   sockets, no processes.
//!
//! Every attempt has a fresh instance: nothing in a `static` outlives it.
//!
//! # Tests
//!
//! A task is a function, and this crate builds on the host, too, so `cargo test` works (with
//! `crate-type = ["cdylib", "rlib"]` also from `tests/`). Outside a component log lines go to the
//! standard error stream, metadata, tags and streams go nowhere, HTTP is unreachable, every moment that is
//! waited for is there at once, and there are no other runs and no tokens.
//!
//! ```
//! # use dacapo::prelude::*;
//! # fn hello(_: &Context, name: String) -> Result<String> { Ok(format!("Hello, {name}!")) }
//! assert_eq!(hello(&Context::default(), "Ada".into()).unwrap(), "Hello, Ada!");
//! ```

#[doc(hidden)]
pub mod bindings;
pub mod context;
mod error;
pub mod http;
pub mod log;
pub mod metadata;
mod payload;
mod relatives;
pub mod runs;
pub mod streams;
pub mod tags;
mod task;
pub mod tokens;
pub mod wait;

pub use context::Context;
pub use error::{Result, RetryDecision, TaskError};
pub use relatives::Relative;
pub use task::{Cron, Machine, Queue, Retry, Task, task};

/// Everything that most tasks need: `use dacapo::prelude::*;`.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::log::span;
    pub use crate::{
        Context, Cron, Machine, Queue, Relative, Result, Retry, RetryDecision, Task, TaskError, debug, error, http,
        info, metadata, runs, streams, tags, task, tokens, trace, wait, warn,
    };
}

pub use {serde, serde_json};

/// Registers the tasks of a component. Call it once, at the top level of `src/lib.rs`.
///
/// ```
/// use dacapo::prelude::*;
///
/// dacapo::tasks![
///     task("add", |_, (a, b): (i64, i64)| Ok(a + b)),
///     task("negate", |_, number: i64| Ok(-number)).retry(Retry::never()),
/// ];
/// ```
#[macro_export]
macro_rules! tasks {
    ($($task:expr),* $(,)?) => {
        const _: () = {
            struct Tasks;

            impl $crate::__private::Component for Tasks {
                fn tasks() -> ::std::vec::Vec<$crate::Task> {
                    ::std::vec![$($task),*]
                }
            }

            // Elsewhere nobody calls it, and its names are none that linkers like.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() -> ::std::vec::Vec<$crate::Task> = <Tasks as $crate::__private::Component>::tasks;
            #[cfg(target_arch = "wasm32")]
            $crate::__private::bindings::export!(Tasks with_types_in $crate::__private::bindings);
        };
    };
}

/// What [`tasks!`] expands to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::task::{Component, raw_task};
}
