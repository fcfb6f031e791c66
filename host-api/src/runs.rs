//! `dacapo:task/runs`: bounds what the guest sends, and triggers through the [`crate::World`], once.

use wasmtime::component::Resource;

use crate::TaskCtx;
use crate::bounds::{check_item, check_items};
use crate::generated::dacapo::task::runs::{BatchHandle, BatchItem, Host, RunHandle, TriggerError, TriggerOptions};
use crate::journal::{Kind, Question, digest_of};
use crate::world::{Awaited, Pending};

/// Most items of a batch that are shown to people.
const MAX_SHOWN: usize = 20;

type Answer<T> = wasmtime::Result<Result<T, TriggerError>>;

impl TaskCtx {
    async fn trigger_one(&mut self, kind: Kind, item: BatchItem, awaited: bool) -> Answer<RunHandle> {
        if let Err(refused) = check_item(&item, self.metadata_bytes) {
            return Ok(Err(TriggerError::Invalid(refused)));
        }
        let call = self.next_call();
        let question = || {
            let key = digest_of(&(&item.task_id, &item.payload));
            Question::new(kind).text(&*item.task_id).found_by(key, &*item.payload).about(&item)
        };
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.trigger(call, item, awaited).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }

    async fn trigger_many(&mut self, kind: Kind, items: Vec<BatchItem>, awaited: bool) -> Answer<BatchHandle> {
        if let Err(refused) = check_items(&items, self.metadata_bytes) {
            return Ok(Err(TriggerError::Invalid(refused)));
        }
        let call = self.next_call();
        let question = || {
            let asked: Vec<_> = items.iter().map(|item| (&item.task_id, &item.payload)).collect();
            let shown = items.iter().map(|item| format!("{} {}", item.task_id, item.payload));
            let shown = shown.take(MAX_SHOWN).collect::<Vec<_>>().join("\n");
            Question::new(kind).text(items.len().to_string()).found_by(digest_of(&asked), shown).about(&items)
        };
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.trigger_batch(call, items, awaited).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }
}

impl Host for TaskCtx {
    async fn trigger(&mut self, task_id: String, payload: String, options: TriggerOptions) -> Answer<RunHandle> {
        self.trigger_one(Kind::Trigger, BatchItem { task_id, payload, options }, false).await
    }

    async fn trigger_and_wait(
        &mut self,
        task_id: String,
        payload: String,
        options: TriggerOptions,
    ) -> Answer<(RunHandle, Resource<Pending>)> {
        let item = BatchItem { task_id, payload, options };
        match self.trigger_one(Kind::TriggerAndWait, item, true).await? {
            Ok(run) => {
                let pending = self.pending(Awaited::Run(run.id.clone()))?;
                Ok(Ok((run, pending)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn batch_trigger(&mut self, items: Vec<BatchItem>) -> Answer<BatchHandle> {
        self.trigger_many(Kind::BatchTrigger, items, false).await
    }

    async fn batch_trigger_and_wait(&mut self, items: Vec<BatchItem>) -> Answer<(BatchHandle, Resource<Pending>)> {
        match self.trigger_many(Kind::BatchTriggerAndWait, items, true).await? {
            Ok(batch) => {
                let runs = batch.runs.iter().map(|run| run.id.clone()).collect();
                let pending = self.pending(Awaited::Runs(runs))?;
                Ok(Ok((batch, pending)))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
