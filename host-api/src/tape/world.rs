//! Runs, tokens and waits of a replay: answered by what was recorded, by canned answers, by whoever
//! executes children, or by nobody.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;

use super::{AnsweredBy, Shelf, Stub, Tape};
use crate::generated::dacapo::task::metadata::MetadataError as GuestError;
use crate::journal::{Kind, digest_of};
use crate::recording::{Call, Recording};
use crate::services::{MetadataChange, MetadataError};
use crate::wait::{Waited, bytes_of, bytes_of_run};
use crate::world::{
    Answer, Awaited, BatchHandle, BatchItem, CallNumber, HostFault, Outcome, Relative, RunError, RunHandle, RunResult,
    Token, TokenOptions, TriggerError, Wait, World,
};

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
    /// Those that were executed in this replay.
    executed: HashSet<String>,
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

    /// The bytes of what comes of this, as far as anybody knows.
    pub(super) fn bytes(&self, of: &Awaited) -> usize {
        let of_run = |id: &String| self.runs.get(id).map_or(0, bytes_of_run);
        match of {
            Awaited::Moment(_) => 0,
            Awaited::Token(id) => self.token_outcomes.get(id).map_or(0, bytes_of),
            Awaited::Run(id) => of_run(id),
            Awaited::Runs(ids) => ids.iter().map(of_run).sum(),
        }
    }

    /// What came of a run that was executed in this replay.
    pub(super) fn executed(&self, id: &str) -> Option<&RunResult> {
        self.executed.get(id).and_then(|id| self.runs.get(id))
    }

    /// What came of a run.
    pub(super) fn run(&self, id: &str) -> Option<&RunResult> {
        self.runs.get(id)
    }

    /// What comes of this, as far as anybody knows; a moment comes.
    pub(super) fn outcome(&self, of: &Awaited) -> Option<Outcome> {
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

    /// Executes a run, under the name that it had `then`. Where it cannot, what is known of it stays.
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
        if let Some(result) = children.execute(item, then).await? {
            self.state().world.executed.insert(id.clone());
            self.learn(RunResult { id: id.clone(), ..result });
        }
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
        let answer = self.captured(found, Ok(()));
        let bytes = id.len() + value.as_ref().map_or(0, String::len);
        if answer.is_ok() && self.0.options.session.take(bytes) {
            self.state().world.token_outcomes.entry(id).or_insert(Outcome::Completed(value));
        }
        Ok(answer)
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
        let outcomes = match recorded {
            Some((outcomes, _)) => self.as_executed(outcomes)?,
            None => self.composed(&wait)?,
        };
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
