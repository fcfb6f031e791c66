//! `dacapo:task/wait`: what can be waited for, and the waiting itself, which is one long call of the
//! [`crate::World`]. What came of it is kept in the guest's handles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::component::Resource;

use crate::bounds::check_id;
use crate::generated::dacapo::task::wait::{Host, HostPending, Outcome};
use crate::journal::{Kind, Question};
use crate::world::{Awaited, HostFault, Pending, RunResult, State, Wait};
use crate::{MAX_RESOURCES, TaskCtx};

/// Most runs and other things in one wait, those of batches counted one by one.
const MAX_TARGETS: usize = 10_000;
/// Most waits of an attempt: each of them costs the host a few records.
const MAX_WAITS: u32 = 10_000;
/// Most bytes of outcomes that a guest holds without having looked at them.
const MAX_HELD_BYTES: usize = 128 << 20;

/// What a wait answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Waited {
    /// Places in what was waited for, and what came of each.
    pub(crate) outcomes: Vec<(u32, Outcome)>,
    /// The places that were tokens; outcomes of runs say themselves whose they are.
    pub(crate) tokens: Vec<(u32, String)>,
}

fn tokens_of(awaited: &[Awaited]) -> Vec<(u32, String)> {
    let token = |(place, awaited): (u32, &Awaited)| match awaited {
        Awaited::Token(id) => Some((place, id.clone())),
        Awaited::Moment(_) | Awaited::Run(_) | Awaited::Runs(_) => None,
    };
    (0..).zip(awaited).filter_map(token).collect()
}

/// What the waits of an attempt have cost so far.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    count: u32,
    held_bytes: usize,
}

/// The bytes of the texts in what came of a run, and a little for the rest.
pub(crate) fn bytes_of_run(run: &RunResult) -> usize {
    64 + match &run.output {
        Ok(output) => output.len(),
        Err(error) => error.message.len() + error.stack.as_ref().map_or(0, String::len),
    }
}

/// The same of an outcome.
pub(crate) fn bytes_of(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Elapsed | Outcome::TokenTimedOut | Outcome::Completed(None) => 0,
        Outcome::Completed(Some(value)) => value.len(),
        Outcome::Ended(run) => bytes_of_run(run),
        Outcome::AllEnded(runs) => runs.iter().map(bytes_of_run).sum(),
    }
}

/// What is waited for, counted one by one.
fn targets_of(awaited: &Awaited) -> usize {
    match awaited {
        Awaited::Moment(_) | Awaited::Token(_) | Awaited::Run(_) => 1,
        Awaited::Runs(runs) => runs.len(),
    }
}

impl TaskCtx {
    /// A handle on something that is waited for later.
    pub(crate) fn pending(&mut self, awaited: Awaited) -> wasmtime::Result<Resource<Pending>> {
        Ok(self.table.push(Pending { awaited, state: State::NotThere })?)
    }

    /// The places of those that are there, in ascending order, and of those that are not.
    fn there(&self, of: &[Resource<Pending>]) -> wasmtime::Result<(Vec<u32>, Vec<u32>)> {
        if of.len() > MAX_RESOURCES {
            wasmtime::bail!("waited for more than {MAX_RESOURCES} things at once");
        }
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for (place, pending) in (0..).zip(of) {
            let is_missing = matches!(self.table.get(pending)?.state, State::NotThere);
            let list = if is_missing { &mut missing } else { &mut there };
            list.push(place);
        }
        Ok((there, missing))
    }

    /// What the guest holds of a replay counts as kept of it, for as long as it does.
    fn holds(&self) {
        if let Some(pins) = &self.pins {
            pins.holds(self.waits.held_bytes);
        }
    }

    /// Waits for those at these places, and keeps what came of them. Answers with their places.
    async fn wait_for(&mut self, of: &[Resource<Pending>], places: &[u32], all: bool) -> wasmtime::Result<Vec<u32>> {
        let mut awaited = Vec::with_capacity(places.len());
        for place in places {
            awaited.push(self.table.get(&of[*place as usize])?.awaited.clone());
        }
        if awaited.iter().map(targets_of).sum::<usize>() > MAX_TARGETS {
            wasmtime::bail!("waited for more than {MAX_TARGETS} runs at once");
        }
        self.waits.count += 1;
        if self.waits.count > MAX_WAITS {
            wasmtime::bail!("waited more than {MAX_WAITS} times in one attempt");
        }
        let kind = if all { Kind::WaitAll } else { Kind::WaitAny };
        let question = || Question::new(kind).text(places.len().to_string()).about(&awaited);
        let outcomes = match self.journal.past::<Waited>(question)? {
            Some(waited) => waited.outcomes,
            None => {
                if !self.world.can_wait() {
                    wasmtime::bail!("waited where nothing can be waited for, for example in a hook");
                }
                let tokens = tokens_of(&awaited);
                let outcomes = Arc::clone(&self.world).wait(Wait { of: awaited, all }).await?;
                let waited = Waited { outcomes, tokens };
                self.journal.keep(&waited);
                waited.outcomes
            }
        };
        let mut there = Vec::with_capacity(outcomes.len());
        for (answered, outcome) in outcomes {
            let place = places.get(answered as usize).ok_or_else(|| HostFault("waited for something else".into()))?;
            self.waits.held_bytes += bytes_of(&outcome);
            self.table.get_mut(&of[*place as usize])?.state = State::There(outcome);
            there.push(*place);
        }
        self.holds();
        if self.waits.held_bytes > MAX_HELD_BYTES {
            wasmtime::bail!("holds more than {} MiB of results it has not looked at", MAX_HELD_BYTES >> 20);
        }
        if all && there.len() < places.len() {
            return Err(HostFault("a wait for all ended before all were there".into()).into());
        }
        Ok(there)
    }
}

impl Host for TaskCtx {
    async fn after(&mut self, length: u64) -> wasmtime::Result<Resource<Pending>> {
        let due = self.journal.ask_now(
            || Question::new(Kind::WaitAfter).about(&length),
            || {
                Ok(match &self.pins {
                    Some(pins) => pins.due(length),
                    None => self.world.now().saturating_add(length),
                })
            },
        )?;
        self.pending(Awaited::Moment(due))
    }

    async fn until(&mut self, at: u64) -> wasmtime::Result<Resource<Pending>> {
        self.pending(Awaited::Moment(at))
    }

    async fn token(&mut self, id: String) -> wasmtime::Result<Result<Resource<Pending>, String>> {
        if let Err(refused) = check_id("the id of the token", &id) {
            return Ok(Err(refused));
        }
        let Self { journal, world, .. } = self;
        let live = async { Ok(world.find_token(id.clone()).await?) };
        let found: Result<(), String> = journal.ask(|| Question::new(Kind::WaitToken).text(&id), live).await?;
        match found {
            Ok(()) => Ok(Ok(self.pending(Awaited::Token(id))?)),
            Err(missing) => Ok(Err(missing)),
        }
    }

    async fn any(&mut self, of: Vec<Resource<Pending>>) -> wasmtime::Result<Vec<u32>> {
        let (there, missing) = self.there(&of)?;
        if of.is_empty() {
            wasmtime::bail!("waited for any of nothing");
        }
        self.end_exchanges();
        if there.is_empty() { self.wait_for(&of, &missing, false).await } else { Ok(there) }
    }

    async fn all(&mut self, of: Vec<Resource<Pending>>) -> wasmtime::Result<()> {
        let (_, missing) = self.there(&of)?;
        self.end_exchanges();
        if !missing.is_empty() {
            self.wait_for(&of, &missing, true).await?;
        }
        Ok(())
    }
}

impl HostPending for TaskCtx {
    async fn outcome(&mut self, pending: Resource<Pending>) -> wasmtime::Result<Option<Outcome>> {
        let outcome = self.table.get_mut(&pending)?.state.take();
        self.waits.held_bytes -= outcome.as_ref().map_or(0, bytes_of);
        self.holds();
        Ok(outcome)
    }

    async fn drop(&mut self, pending: Resource<Pending>) -> wasmtime::Result<()> {
        let outcome = self.table.delete(pending)?.state.take();
        self.waits.held_bytes -= outcome.as_ref().map_or(0, bytes_of);
        self.holds();
        Ok(())
    }
}
