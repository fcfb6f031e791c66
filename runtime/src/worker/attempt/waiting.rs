//! How an attempt waits: what is recorded of it, and how a guest that stayed in memory goes on.

use std::sync::atomic::Ordering;

use super::super::wait;
use super::super::world::Ask;
use super::{Attempt, Guest, Stopped, insist};
use crate::model::Timestamp;
use crate::model::attempt::Outcome;
use crate::sandbox::world::Outcome as WaitOutcome;
use crate::storage::{Lease, Suspended, Suspension};

/// The guest of a run that waits.
pub(in crate::worker) struct Waiting {
    guest: Guest,
    ask: Ask,
    /// Under which it began to wait.
    lease: Lease,
}

impl Waiting {
    /// The memory of the guest, and of what it has not written yet.
    pub(in crate::worker) fn memory_bytes(&self) -> u64 {
        self.guest.activity.usage().peak_memory_bytes + self.guest.journal.held_bytes() as u64
    }

    /// Whether its journal brings it back.
    pub(in crate::worker) fn is_replaceable(&self) -> bool {
        self.guest.journal.is_complete()
    }

    /// Whether it goes on under this lease, which must be the next one.
    pub(super) fn goes_on_under(&self, lease: Lease) -> bool {
        let Lease { run, number, attempt, .. } = self.lease;
        (run, number + 1, attempt) == (lease.run, lease.number, lease.attempt)
    }
}

impl Attempt {
    /// Records that the guest waits, or answers it if what it waits for is there.
    pub(super) async fn wait(&self, guest: Guest, ask: Ask) -> Result<Guest, Stopped> {
        let fault = |error: String| Stopped::unused(Outcome::HostFault(error));
        let awaited = wait::awaited(&ask.wait).map_err(fault)?;
        let said = guest.recorder.take();
        let unwritten = guest.journal.unwritten();
        let at = self.shared.clock.now();
        let suspension = Suspension {
            lease: self.claimed.lease,
            waits: awaited,
            all: ask.wait.all,
            journal: unwritten.as_ref().map(|unwritten| self.sealed(&unwritten.segment)),
            replayable: guest.journal.is_complete(),
            usage: guest.activity.usage(),
            cpu_before: guest.cpu_before,
            logs: said.logs,
            metadata: said.metadata,
            at,
        };
        match insist(|| self.shared.storage.suspend(suspension.clone())).await {
            Ok(Suspended::Ready) => {
                let run = &self.claimed.run;
                if let Ok(Some(now)) = self.shared.storage.run(run.environment, run.id).await {
                    guest.recorder.resume(now.metadata.as_deref());
                }
                let outcomes = self.outcomes(&ask, at).await.map_err(fault)?;
                let outcomes = outcomes.ok_or_else(|| fault("what was there is gone".into()))?;
                // A guest that has gone needs no answer.
                drop(ask.answer.send(Ok(outcomes)));
                Ok(guest)
            }
            Ok(Suspended::Waiting) => {
                guest.activity.pause();
                if let Some(unwritten) = unwritten {
                    guest.journal.written(unwritten.up_to);
                }
                Err(Stopped::Waiting(Box::new(Waiting { guest, ask, lease: self.claimed.lease })))
            }
            Ok(Suspended::Lost) => Err(Stopped::NotOurs),
            Err(error) => Err(fault(error.to_string())),
        }
    }

    /// What the guest has waited for, as of `at`; `None`: it must wait on.
    async fn outcomes(&self, ask: &Ask, at: Timestamp) -> Result<Option<Vec<(u32, WaitOutcome)>>, String> {
        let awaited = wait::awaited(&ask.wait)?;
        let outcomes = self.shared.storage.outcomes(self.claimed.run.environment, awaited, at).await;
        Ok(wait::answer(&ask.wait, outcomes.map_err(|error| error.to_string())?))
    }

    /// Goes on with a guest that has waited in memory.
    pub(super) async fn wake(&self, waiting: Waiting) -> Result<Guest, Stopped> {
        let Waiting { guest, ask, .. } = waiting;
        guest.lease.store(self.claimed.lease.number, Ordering::Release);
        guest.recorder.resume(self.claimed.run.metadata.as_deref());
        let fault = |error: String| Stopped::unused(Outcome::HostFault(error));
        // They may have changed while it waited.
        guest.egress.set(self.shared.settings.of(self.claimed.run.environment).await.map_err(fault)?.egress.clone());
        let outcomes = self.outcomes(&ask, self.shared.clock.now()).await;
        match outcomes.map_err(fault)? {
            Some(outcomes) => {
                guest.activity.resume();
                drop(ask.answer.send(Ok(outcomes)));
                Ok(guest)
            }
            // The clock was set back since it was woken.
            None => self.wait(guest, ask).await,
        }
    }
}
