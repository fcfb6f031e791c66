//! `dacapo:task/relatives`: bounds what the guest sends, and asks the [`crate::World`], once.

use crate::TaskCtx;
use crate::bounds::check_tags;
use crate::generated::dacapo::task::metadata::MetadataError as GuestError;
use crate::generated::dacapo::task::relatives::{Host, MetadataChange, Relative};
use crate::journal::{Kind, Question, digest_of};
use crate::services::MetadataChange as Change;

impl Host for TaskCtx {
    async fn change_metadata(
        &mut self,
        of: Relative,
        change: MetadataChange,
    ) -> wasmtime::Result<Result<(), GuestError>> {
        let change = Change::from(change);
        if let Err(refused) = self.check_change(&change) {
            return Ok(Err(refused));
        }
        let question = || {
            let shown = format!("{change:?}");
            Question::new(Kind::ChangeMetadata).text(name(of)).found_by(digest_of(&change), shown).about(&change)
        };
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        if let Some(pins) = &self.pins {
            pins.changes(&question());
        }
        let answer = self.world.change_metadata(of, change).await?.map_err(GuestError::from);
        self.journal.keep(&answer);
        Ok(answer)
    }

    async fn add_tags(&mut self, to: Relative, tags: Vec<String>) -> wasmtime::Result<Result<(), String>> {
        if let Err(refused) = check_tags(&tags) {
            return Ok(Err(refused));
        }
        let question =
            || Question::new(Kind::AddTags).text(name(to)).found_by(digest_of(&tags), tags.join(", ")).about(&tags);
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.add_tags(to, tags).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }
}

impl From<MetadataChange> for Change {
    fn from(change: MetadataChange) -> Self {
        match change {
            MetadataChange::Set((key, value)) => Self::Set(key, value),
            MetadataChange::Delete(key) => Self::Delete(key),
            MetadataChange::Append((key, value)) => Self::Append(key, value),
            MetadataChange::Remove((key, value)) => Self::Remove(key, value),
            MetadataChange::Increment((key, by)) => Self::Increment(key, by),
            MetadataChange::Update(value) => Self::Update(value),
        }
    }
}

/// A relative's name in a question.
pub(crate) fn name(relative: Relative) -> &'static str {
    match relative {
        Relative::ThisRun => "this-run",
        Relative::Parent => "parent",
        Relative::Root => "root",
    }
}
