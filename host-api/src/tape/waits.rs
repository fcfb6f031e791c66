//! What comes of the waits of a replay that were not recorded.

use super::notes::CALL_BYTES;
use super::{Stop, Tape};
use crate::recording::{Reach, ReachKind};
use crate::wait::bytes_of_run;
use crate::world::{Answer, Awaited, FailedStatus, HostFault, Outcome, RunError, RunResult, Wait};

/// Most bytes of what comes of one wait.
const MAX_ANSWER_BYTES: usize = 64 << 20;

impl Tape {
    /// What comes of a wait that was not recorded.
    ///
    /// # Errors
    ///
    /// If that is more than one wait may answer: the replay is over.
    pub(super) fn composed(&self, wait: &Wait) -> Answer<Vec<(u32, Outcome)>> {
        let known: Vec<Option<Outcome>> = {
            let state = self.state();
            // A guest may wait for one thing a thousand times.
            self.may_answer(wait.of.iter().map(|of| state.world.bytes(of)).sum())?;
            wait.of.iter().map(|of| state.world.outcome(of)).collect()
        };
        let moments = || wait.of.iter().map(|of| matches!(of, Awaited::Moment(_)));
        // Whoever waits for a run, but not for longer than a while, gets the run: that it came then is known.
        let are_others_known = known.iter().zip(moments()).any(|(outcome, is_moment)| outcome.is_some() && !is_moment);
        let mut outcomes = Vec::new();
        for (((place, of), outcome), is_moment) in (0..).zip(&wait.of).zip(known).zip(moments()) {
            match outcome {
                Some(_) if !wait.all && is_moment && are_others_known => {}
                Some(outcome) => outcomes.push((place, outcome)),
                None if wait.all => outcomes.push((place, self.unknown(of))),
                None => {}
            }
        }
        if outcomes.is_empty()
            && let Some(of) = wait.of.first()
        {
            outcomes.push((0, self.unknown(of)));
        } else if !wait.all && !are_others_known {
            // The moment comes because nobody knows what would have come before.
            wait.of.iter().for_each(|of| self.misses_end_of(of));
        }
        Ok(outcomes)
    }

    /// What came of a wait then, with the ends of now of those runs that were executed in this replay: what came first is
    /// recorded.
    ///
    /// # Errors
    ///
    /// As [`Tape::composed`].
    pub(super) fn as_executed(&self, mut outcomes: Vec<(u32, Outcome)>) -> Answer<Vec<(u32, Outcome)>> {
        let state = self.state();
        let world = &state.world;
        let ends = outcomes.iter().flat_map(|(_, outcome)| runs_of(outcome));
        self.may_answer(ends.filter_map(|run| world.executed(&run.id)).map(bytes_of_run).sum())?;
        for run in outcomes.iter_mut().flat_map(|(_, outcome)| runs_of_mut(outcome)) {
            if let Some(executed) = world.executed(&run.id) {
                run.clone_from(executed);
            }
        }
        Ok(outcomes)
    }

    /// Whether one wait may answer so many bytes, as a server would in a run; if not, the replay is over.
    fn may_answer(&self, bytes: usize) -> Answer<()> {
        if bytes <= MAX_ANSWER_BYTES {
            return Ok(());
        }
        let most = MAX_ANSWER_BYTES >> 20;
        self.0.options.session.stop(Stop::Limit(format!("what it waits for at once takes more than {most} MiB")));
        Err(HostFault("the replay is over".into()))
    }

    /// What is made of something of which nobody knows what came of it.
    fn unknown(&self, of: &Awaited) -> Outcome {
        match of {
            Awaited::Moment(_) => Outcome::Elapsed,
            Awaited::Token(_) => {
                self.misses_end_of(of);
                Outcome::TokenTimedOut
            }
            Awaited::Run(id) => Outcome::Ended(self.known_run(id)),
            Awaited::Runs(ids) => Outcome::AllEnded(ids.iter().map(|id| self.known_run(id)).collect()),
        }
    }

    /// The guest waits for this, and nobody knows what comes of it.
    fn misses_end_of(&self, of: &Awaited) {
        let misses_run = |id: &String| {
            if self.state().world.run(id).is_none() {
                self.misses(format!("the end of {id}"));
            }
        };
        match of {
            Awaited::Moment(_) => {}
            Awaited::Token(id) => self.misses(format!("wait token {id}")),
            Awaited::Run(id) => misses_run(id),
            Awaited::Runs(ids) => ids.iter().for_each(misses_run),
        }
    }

    fn known_run(&self, id: &String) -> RunResult {
        let known = self.state().world.run(id).cloned();
        known.unwrap_or_else(|| {
            self.misses(format!("the end of {id}"));
            let error = RunError {
                status: FailedStatus::SystemFailure,
                name: "NotRecorded".into(),
                message: format!("how {id} ended is not in the recording"),
                stack: None,
            };
            RunResult { id: id.clone(), task_id: String::new(), output: Err(error), cpu: 0 }
        })
    }

    /// The guest wants to know this, and nobody knows it.
    pub(super) fn misses(&self, what: String) {
        let reach = Reach::unknown(ReachKind::Wait, what.clone());
        if self.0.options.session.take(CALL_BYTES + what.len()) {
            self.state().unknown.push(reach);
        }
        self.unmatched(|| what);
    }
}

fn runs_of(outcome: &Outcome) -> &[RunResult] {
    match outcome {
        Outcome::Ended(run) => std::slice::from_ref(run),
        Outcome::AllEnded(runs) => runs,
        Outcome::Elapsed | Outcome::Completed(_) | Outcome::TokenTimedOut => &[],
    }
}

fn runs_of_mut(outcome: &mut Outcome) -> &mut [RunResult] {
    match outcome {
        Outcome::Ended(run) => std::slice::from_mut(run),
        Outcome::AllEnded(runs) => runs,
        Outcome::Elapsed | Outcome::Completed(_) | Outcome::TokenTimedOut => &mut [],
    }
}
