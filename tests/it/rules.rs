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

use dacapo::clock::Clock;
use proptest::collection::vec;
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

#[test]
fn no_order_of_events_breaks_the_rules() {
    let config =
        Config { cases: stories(STORIES), max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    // One clock: the ids of one process never go back.
    let clock = Clock::system();
    let told = TestRunner::new(config).run(&vec(any_step(), 1..STEPS), |steps| {
        let mut world = World::begin(&clock);
        for step in &steps {
            world.take(step);
        }
        world.end();
        Ok(())
    });
    if let Err(error) = told {
        panic!("{error}");
    }
}
