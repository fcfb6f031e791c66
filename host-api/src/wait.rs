//! `dacapo:task/wait`: what can be waited for, and the waiting itself, which is one long call of the
//! [`crate::World`]. What came of it is kept in the guest's handles.

use std::sync::Arc;

use wasmtime::component::Resource;

use crate::bounds::check_id;
use crate::generated::dacapo::task::wait::{Host, HostPending, Outcome};
use crate::journal::{Kind, Question};
use crate::world::{Awaited, HostFault, Pending, Wait};
use crate::{MAX_RESOURCES, TaskCtx};

impl TaskCtx {
    /// A handle on something that is waited for later.
    pub(crate) fn pending(&mut self, awaited: Awaited) -> wasmtime::Result<Resource<Pending>> {
        Ok(self.table.push(Pending { awaited, outcome: None })?)
    }

    /// The places of those that are there, in ascending order, and of those that are not.
    fn there(&self, of: &[Resource<Pending>]) -> wasmtime::Result<(Vec<u32>, Vec<u32>)> {
        if of.len() > MAX_RESOURCES {
            wasmtime::bail!("waited for more than {MAX_RESOURCES} things at once");
        }
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for (place, pending) in (0..).zip(of) {
            let list = if self.table.get(pending)?.outcome.is_some() { &mut there } else { &mut missing };
            list.push(place);
        }
        Ok((there, missing))
    }

    /// Waits for those at these places, and keeps what came of them. Answers with their places.
    async fn wait_for(&mut self, of: &[Resource<Pending>], places: &[u32], all: bool) -> wasmtime::Result<Vec<u32>> {
        if !self.world.can_wait() {
            wasmtime::bail!("waited where nothing can be waited for, for example in a hook");
        }
        let mut awaited = Vec::with_capacity(places.len());
        for place in places {
            awaited.push(self.table.get(&of[*place as usize])?.awaited.clone());
        }
        let kind = if all { Kind::WaitAll } else { Kind::WaitAny };
        let question = || Question::new(kind).text(places.len().to_string()).about(&awaited);
        let outcomes: Vec<(u32, Outcome)> = match self.journal.past(question)? {
            Some(outcomes) => outcomes,
            None => {
                let outcomes = Arc::clone(&self.world).wait(Wait { of: awaited, all }).await?;
                self.journal.keep(&outcomes);
                outcomes
            }
        };
        let mut there = Vec::with_capacity(outcomes.len());
        for (answered, outcome) in outcomes {
            let place = places.get(answered as usize).ok_or_else(|| HostFault("waited for something else".into()))?;
            self.table.get_mut(&of[*place as usize])?.outcome = Some(outcome);
            there.push(*place);
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
            || Ok(self.world.now().saturating_add(length)),
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
        if there.is_empty() { self.wait_for(&of, &missing, false).await } else { Ok(there) }
    }

    async fn all(&mut self, of: Vec<Resource<Pending>>) -> wasmtime::Result<()> {
        let (_, missing) = self.there(&of)?;
        if !missing.is_empty() {
            self.wait_for(&of, &missing, true).await?;
        }
        Ok(())
    }
}

impl HostPending for TaskCtx {
    async fn outcome(&mut self, pending: Resource<Pending>) -> wasmtime::Result<Option<Outcome>> {
        Ok(self.table.get(&pending)?.outcome.clone())
    }

    async fn drop(&mut self, pending: Resource<Pending>) -> wasmtime::Result<()> {
        self.table.delete(pending)?;
        Ok(())
    }
}
