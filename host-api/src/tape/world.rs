//! Runs, tokens and waits of a replay: answered by what was recorded, by canned answers, by whoever
//! executes children, or by nobody.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{AnsweredBy, Shelf, Stub, Tape};
use crate::generated::dacapo::task::metadata::MetadataError as GuestError;
use crate::journal::{Kind, digest_of};
use crate::recording::{Call, Reach, ReachKind, Recording};
use crate::services::{MetadataChange, MetadataError};
use crate::wait::{Waited, bytes_of_run};
use crate::world::{
    Answer, Awaited, BatchHandle, BatchItem, CallNumber, FailedStatus, HostFault, Outcome, Relative, RunError,
    RunHandle, RunResult, Token, TokenOptions, TriggerError, Wait, World,
};

/// Bytes that a note costs beside its text.
const REACH_BYTES: usize = 128;

/// What a recording has of runs, tokens and waits.
#[derive(Default)]
pub(super) struct Recorded {
    triggers: Shelf<Result<RunHandle, TriggerError>>,
    batches: Shelf<Result<BatchHandle, TriggerError>>,
    tokens: Shelf<Result<Token, String>>,
    completions: Shelf<Result<(), String>>,
    changes: Shelf<Result<(), GuestError>>,
    tags: Shelf<Result<(), String>>,
    streams: Shelf<Result<(), String>>,
    waits: Shelf<Vec<(u32, Outcome)>>,
    /// Tokens that were looked for, by their ids.
    looked_for: HashMap<String, Result<(), String>>,
    /// What came of runs and of tokens, by their ids.
    runs: HashMap<String, RunResult>,
    token_outcomes: HashMap<String, Outcome>,
}

impl Recorded {
    pub(super) fn new(recording: &Recording) -> Result<Self, HostFault> {
        let mut recorded = Self::default();
        recording.calls.iter().try_for_each(|call| recorded.add(call))?;
        Ok(recorded)
    }

    fn add(&mut self, call: &Call) -> Result<(), HostFault> {
        let (text, key) = (call.text.clone(), call.key);
        match call.kind {
            Kind::Trigger => put(&mut self.triggers, triggers_of(&text, false), key, call),
            Kind::TriggerAndWait => put(&mut self.triggers, triggers_of(&text, true), key, call),
            Kind::BatchTrigger => put(&mut self.batches, triggers_of(&call.text, false), key, call),
            Kind::BatchTriggerAndWait => put(&mut self.batches, triggers_of(&call.text, true), key, call),
            Kind::CreateToken => put(&mut self.tokens, text, key, call),
            Kind::CompleteToken => put(&mut self.completions, text, key, call),
            Kind::ChangeMetadata => put(&mut self.changes, text, key, call),
            Kind::AddTags => put(&mut self.tags, text, key, call),
            Kind::Append => put(&mut self.streams, text, key, call),
            Kind::WaitToken => {
                self.looked_for.extend(call.answer()?.map(|found| (text, found)));
                Ok(())
            }
            Kind::WaitAny | Kind::WaitAll => {
                if let Some(waited) = call.answer::<Waited>()? {
                    self.learn(&waited);
                    self.waits.put(waited_for(call.kind == Kind::WaitAll, call.digest), 0, waited.outcomes);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn learn(&mut self, waited: &Waited) {
        for (place, outcome) in &waited.outcomes {
            match outcome {
                Outcome::Ended(run) => self.learn_run(run.clone()),
                Outcome::AllEnded(runs) => runs.iter().cloned().for_each(|run| self.learn_run(run)),
                Outcome::Completed(_) | Outcome::TokenTimedOut => {
                    let token = waited.tokens.iter().find(|(of, _)| of == place);
                    self.token_outcomes.extend(token.map(|(_, id)| (id.clone(), outcome.clone())));
                }
                Outcome::Elapsed => {}
            }
        }
    }

    fn learn_run(&mut self, run: RunResult) {
        self.runs.insert(run.id.clone(), run);
    }

    /// What comes of this, as far as anybody knows; a moment comes.
    fn outcome(&self, of: &Awaited) -> Option<Outcome> {
        match of {
            Awaited::Moment(_) => Some(Outcome::Elapsed),
            Awaited::Token(id) => self.token_outcomes.get(id).cloned(),
            Awaited::Run(id) => self.runs.get(id).cloned().map(Outcome::Ended),
            Awaited::Runs(ids) => {
                let runs = ids.iter().map(|id| self.runs.get(id).cloned());
                runs.collect::<Option<Vec<_>>>().map(Outcome::AllEnded)
            }
        }
    }
}

fn put<T: serde::de::DeserializeOwned>(
    shelf: &mut Shelf<T>,
    text: String,
    key: u64,
    call: &Call,
) -> Result<(), HostFault> {
    if let Some(answer) = call.answer()? {
        shelf.put(text, key, answer);
    }
    Ok(())
}

/// What a trigger is found under: the task, or for a batch its size, because the answers to another one
/// would not fit.
fn triggers_of(what: &str, awaited: bool) -> String {
    format!("{what} {awaited}")
}

fn waited_for(all: bool, digest: u64) -> String {
    format!("{all} {digest}")
}

impl Tape {
    /// A run is triggered: the answer, and who gave it.
    async fn triggered(
        &self,
        call: CallNumber,
        item: BatchItem,
        awaited: bool,
    ) -> Answer<(AnsweredBy, Result<RunHandle, TriggerError>)> {
        let key = digest_of(&(&item.task_id, &item.payload));
        let recorded = {
            let mut state = self.state();
            let found = state.world.triggers.take(&triggers_of(&item.task_id, awaited), key);
            found.map(|(answer, by)| (by, answer))
        };
        if self.executes(&item.task_id) {
            let then = match recorded {
                Some((_, Ok(handle))) => Some(handle.id),
                // It was refused then, and would be now.
                Some((by, Err(refused))) => return Ok((by, Err(refused))),
                None => None,
            };
            return Ok((AnsweredBy::Executed, Ok(self.execute((call, 0), then, item).await?)));
        }
        if let Some(recorded) = recorded {
            return Ok(recorded);
        }
        if let Some(output) = self.stub_of(&item.task_id) {
            return Ok((AnsweredBy::Stub, Ok(self.ended(made_up(call, 0), item.task_id, output))));
        }
        let line = format!("a run of {}", item.task_id);
        let refused = TriggerError::Invalid(format!("not in the recording: {line}"));
        self.unmatched(|| line);
        Ok((AnsweredBy::Unmatched, Err(refused)))
    }

    /// Whether runs of this task are executed.
    fn executes(&self, task: &str) -> bool {
        self.0.options.children.as_ref().is_some_and(|children| children.can_execute(task))
    }

    /// What came of a run, for whoever waits for it.
    fn learn(&self, run: RunResult) {
        if self.0.options.session.take(bytes_of_run(&run)) {
            self.state().world.learn_run(run);
        }
    }

    /// Executes a run, under the name that it had `then`.
    async fn execute(
        &self,
        (call, place): (CallNumber, usize),
        then: Option<String>,
        item: BatchItem,
    ) -> Answer<RunHandle> {
        let Some(children) = &self.0.options.children else {
            return Err(HostFault("nobody executes children".into()));
        };
        let id = then.clone().unwrap_or_else(|| made_up(call, place));
        let result = children.execute(item, then).await?;
        self.learn(RunResult { id: id.clone(), ..result });
        Ok(RunHandle { id, is_cached: false })
    }

    fn stub_of(&self, asked: &str) -> Option<Result<String, RunError>> {
        self.0.options.stubs.iter().find_map(|stub| match stub {
            Stub::Run { task, output } if task == asked => Some(output.clone()),
            Stub::Run { .. } | Stub::Http { .. } => None,
        })
    }

    /// A run that nobody executed has ended so.
    fn ended(&self, id: String, task_id: String, output: Result<String, RunError>) -> RunHandle {
        self.learn(RunResult { id: id.clone(), task_id, output, cpu: 0 });
        RunHandle { id, is_cached: false }
    }

    async fn batch_triggered(
        &self,
        call: CallNumber,
        items: Vec<BatchItem>,
        awaited: bool,
    ) -> Answer<(AnsweredBy, Result<BatchHandle, TriggerError>)> {
        let asked: Vec<_> = items.iter().map(|item| (&item.task_id, &item.payload)).collect();
        let key = digest_of(&asked);
        let recorded = {
            let mut state = self.state();
            let found = state.world.batches.take(&triggers_of(&items.len().to_string(), awaited), key);
            found.map(|(answer, by)| (by, answer))
        };
        let executes = items.iter().any(|item| self.executes(&item.task_id));
        let (mut batch, by) = match recorded {
            Some(recorded) if !executes => return Ok(recorded),
            Some((by, Err(refused))) => return Ok((by, Err(refused))),
            Some((_, Ok(batch))) => (batch, AnsweredBy::Executed),
            None => {
                let by = if executes { AnsweredBy::Executed } else { AnsweredBy::Stub };
                (BatchHandle { id: format!("batch_sandbox{}", call.0), runs: Vec::new() }, by)
            }
        };
        let mut then = std::mem::take(&mut batch.runs).into_iter();
        for (place, item) in items.into_iter().enumerate() {
            let then = then.next();
            batch.runs.push(if self.executes(&item.task_id) {
                self.execute((call, place), then.map(|run| run.id), item).await?
            } else if let Some(then) = then {
                then
            } else if let Some(output) = self.stub_of(&item.task_id) {
                self.ended(made_up(call, place), item.task_id, output)
            } else {
                let line = format!("a batch with a run of {}", item.task_id);
                let refused = TriggerError::Invalid(format!("not in the recording: {line}"));
                self.unmatched(|| line);
                return Ok((AnsweredBy::Unmatched, Err(refused)));
            });
        }
        Ok((by, Ok(batch)))
    }

    fn note(&self, by: AnsweredBy) {
        self.state().calls.push(by);
    }

    /// A call whose answer does not depend on the world: what was recorded, or that it worked.
    fn captured<T>(&self, found: Option<(T, AnsweredBy)>, done: T) -> T {
        match found {
            Some((answer, AnsweredBy::Recorded)) => {
                self.note(AnsweredBy::Recorded);
                answer
            }
            Some(_) | None => {
                self.note(AnsweredBy::Captured);
                done
            }
        }
    }

    /// What comes of a wait that was not recorded.
    fn composed(&self, wait: &Wait) -> Vec<(u32, Outcome)> {
        let known: Vec<Option<Outcome>> = {
            let state = self.state();
            wait.of.iter().map(|of| state.world.outcome(of)).collect()
        };
        let moments = || wait.of.iter().map(|of| matches!(of, Awaited::Moment(_)));
        // Whoever waits for a run, but not for longer than a while, gets the run: that it came then is known.
        let are_runs_known = known.iter().zip(moments()).any(|(outcome, is_moment)| outcome.is_some() && !is_moment);
        let mut outcomes = Vec::new();
        for (((place, of), outcome), is_moment) in (0..).zip(&wait.of).zip(known).zip(moments()) {
            match outcome {
                Some(_) if !wait.all && is_moment && are_runs_known => {}
                Some(outcome) => outcomes.push((place, outcome)),
                None if wait.all => outcomes.push((place, self.unknown(of))),
                None => {}
            }
        }
        if outcomes.is_empty()
            && let Some(of) = wait.of.first()
        {
            outcomes.push((0, self.unknown(of)));
        }
        outcomes
    }

    /// What is made of something of which nobody knows what came of it.
    fn unknown(&self, of: &Awaited) -> Outcome {
        match of {
            Awaited::Moment(_) => Outcome::Elapsed,
            Awaited::Token(id) => {
                self.misses(format!("wait token {id}"));
                Outcome::TokenTimedOut
            }
            Awaited::Run(id) => Outcome::Ended(self.known_run(id)),
            Awaited::Runs(ids) => Outcome::AllEnded(ids.iter().map(|id| self.known_run(id)).collect()),
        }
    }

    fn known_run(&self, id: &String) -> RunResult {
        let known = self.state().world.runs.get(id).cloned();
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
    fn misses(&self, what: String) {
        let reach = Reach::unknown(ReachKind::Wait, what.clone());
        if self.0.options.session.take(REACH_BYTES + what.len()) {
            self.state().unknown.push(reach);
        }
        self.unmatched(|| what);
    }
}

/// The id of a run that was never made.
fn made_up(call: CallNumber, place: usize) -> String {
    format!("run_sandbox{}x{place}", call.0)
}

#[async_trait]
impl World for Tape {
    fn now(&self) -> u64 {
        self.0.pins.shown_ms()
    }

    fn can_wait(&self) -> bool {
        true
    }

    async fn trigger(
        &self,
        call: CallNumber,
        item: BatchItem,
        awaited: bool,
    ) -> Answer<Result<RunHandle, TriggerError>> {
        let (by, answer) = self.triggered(call, item, awaited).await?;
        self.note(by);
        Ok(answer)
    }

    async fn trigger_batch(
        &self,
        call: CallNumber,
        items: Vec<BatchItem>,
        awaited: bool,
    ) -> Answer<Result<BatchHandle, TriggerError>> {
        let (by, answer) = self.batch_triggered(call, items, awaited).await?;
        self.note(by);
        Ok(answer)
    }

    async fn create_token(&self, call: CallNumber, options: TokenOptions) -> Answer<Result<Token, String>> {
        let found = self.state().world.tokens.take("", digest_of(&options));
        if let Some((answer, by)) = found {
            self.note(by);
            return Ok(answer);
        }
        self.note(AnsweredBy::Captured);
        let id = format!("waitpoint_sandbox{}", call.0);
        // Nobody can reach it, so that it leads nowhere.
        Ok(Ok(Token { url: format!("http://sandbox.invalid/{id}"), id, is_cached: false }))
    }

    async fn complete_token(&self, id: String, value: Option<String>) -> Answer<Result<(), String>> {
        let found = self.state().world.completions.take(&id, digest_of(&(&id, &value)));
        if self.0.options.session.take(id.len() + value.as_ref().map_or(0, String::len)) {
            self.state().world.token_outcomes.entry(id).or_insert(Outcome::Completed(value));
        }
        Ok(self.captured(found, Ok(())))
    }

    async fn find_token(&self, id: String) -> Answer<Result<(), String>> {
        let found = {
            let state = self.state();
            let is_known = state.world.token_outcomes.contains_key(&id) || id.starts_with("waitpoint_sandbox");
            let found = state.world.looked_for.get(&id).cloned();
            found.or(is_known.then_some(Ok(())))
        };
        Ok(found.unwrap_or_else(|| {
            self.misses(format!("wait token {id}"));
            Err(format!("the recording has no wait token {id}"))
        }))
    }

    async fn change_metadata(&self, of: Relative, change: MetadataChange) -> Answer<Result<(), MetadataError>> {
        let found = self.state().world.changes.take(crate::relatives::name(of), digest_of(&change));
        let answer = self.captured(found, Ok(())).map_err(MetadataError::from);
        if let (Ok(()), Some(changes)) = (&answer, &self.0.options.changes) {
            changes(of, change);
        }
        Ok(answer)
    }

    async fn add_tags(&self, to: Relative, tags: Vec<String>) -> Answer<Result<(), String>> {
        let found = self.state().world.tags.take(crate::relatives::name(to), digest_of(&tags));
        Ok(self.captured(found, Ok(())))
    }

    async fn append(&self, of: Relative, name: String, chunks: Vec<String>) -> Answer<Result<(), String>> {
        let text = format!("{}, {name}", crate::relatives::name(of));
        let found = self.state().world.streams.take(&text, digest_of(&chunks));
        Ok(self.captured(found, Ok(())))
    }

    async fn wait(&self, wait: Wait) -> Answer<Vec<(u32, Outcome)>> {
        let recorded = self.state().world.waits.take(&waited_for(wait.all, digest_of(&wait.of)), 0);
        // What was executed ends as it ended now.
        let recorded = recorded.filter(|_| self.0.options.children.is_none());
        let outcomes = recorded.map_or_else(|| self.composed(&wait), |(outcomes, _)| outcomes);
        for (place, outcome) in &outcomes {
            if let (Outcome::Elapsed, Some(Awaited::Moment(due))) = (outcome, wait.of.get(*place as usize)) {
                self.0.pins.go_to(Duration::from_millis(*due));
            }
        }
        Ok(outcomes)
    }
}

impl From<GuestError> for MetadataError {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::InvalidJson(why) => Self::InvalidJson(why),
            GuestError::NotANumber(key) => Self::NotANumber(key),
            GuestError::TooLarge(bytes) => Self::TooLarge(bytes),
        }
    }
}
