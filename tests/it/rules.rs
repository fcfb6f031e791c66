//! The rules of a run's life, whatever happens in whatever order.
//!
//! A story is a random list of steps ([`steps::Step`]): triggers with every option that matters,
//! cancellations, replays, deployments, changes of queues, bulk actions, attempts that end in every
//! way, the clock, and crashes. [`world::World`] takes them through the public API of a whole server
//! whose guests are [`gates::Gates`]: calls that end when the story says so, and that count who runs
//! beside them. [`checks`] are the rules; they are looked at after every step, and once more when
//! everything was let go:
//!
//! - a final status never changes, and has its completion time, which no other status has;
//! - a status follows from the one before it as the diagram in `model/run.rs` says;
//! - an idempotency key names one run at a time;
//! - no more runs execute at a time than their queue, their concurrency key and their environment
//!   let, and never two attempts of one run; attempts are counted up by one;
//! - whatever was acknowledged can be retrieved, and ends in the end.

mod checks;
mod gates;
mod steps;
mod world;

use std::fmt::Debug;

use dacapo::clock::Clock;
use proptest::collection::vec;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

pub use self::checks::check_events;
use self::steps::any_step;
use self::world::World;

/// Stories, and the steps of the longest.
const STORIES: u32 = 16;
const STEPS: usize = 40;

/// How many stories are told: `usual`, unless the environment variable `DACAPO_STORIES` says more.
pub fn stories(usual: u32) -> u32 {
    std::env::var("DACAPO_STORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// Where stories happen.
pub trait Stage {
    type Step: Debug;

    fn begin(clock: &Clock) -> Self;

    fn take(&mut self, step: &Self::Step);

    fn end(self);
}

/// Tells so many stories, each of fewer than `most` steps, on a stage of its own.
pub fn tell<S: Stage>(count: u32, (step, most): (impl Strategy<Value = S::Step>, usize), max_shrink_iters: u32) {
    let config = Config { cases: stories(count), max_shrink_iters, failure_persistence: None, ..Config::default() };
    // One clock: the ids of one process never go back.
    let clock = Clock::system();
    let told = TestRunner::new(config).run(&vec(step, 1..most), |steps| {
        let mut stage = S::begin(&clock);
        steps.iter().for_each(|step| stage.take(step));
        stage.end();
        Ok(())
    });
    if let Err(error) = told {
        panic!("{error}");
    }
}

#[test]
fn no_order_of_events_breaks_the_rules() {
    tell::<World>(STORIES, (any_step(), STEPS), 60);
}
