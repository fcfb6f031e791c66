//! `dacapo:task/relatives`: bounds what the guest sends, and asks the [`crate::World`], once.

use crate::TaskCtx;
use crate::bounds::check_tags;
use crate::generated::dacapo::task::metadata::MetadataError as GuestError;
use crate::generated::dacapo::task::relatives::{Host, MetadataChange, Relative};
use crate::journal::{Kind, Question};
use crate::metadata::MAX_KEY_BYTES;

impl Host for TaskCtx {
    async fn change_metadata(
        &mut self,
        of: Relative,
        change: MetadataChange,
    ) -> wasmtime::Result<Result<(), GuestError>> {
        let (key, value) = sizes(&change);
        if key > MAX_KEY_BYTES || value > self.metadata_bytes {
            return Ok(Err(GuestError::TooLarge(u32::try_from(self.metadata_bytes).unwrap_or(u32::MAX))));
        }
        let question = || Question::new(Kind::ChangeMetadata).text(name(of)).about(&change);
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.change_metadata(of, change).await?.map_err(GuestError::from);
        self.journal.keep(&answer);
        Ok(answer)
    }

    async fn add_tags(&mut self, to: Relative, tags: Vec<String>) -> wasmtime::Result<Result<(), String>> {
        if let Err(refused) = check_tags(&tags) {
            return Ok(Err(refused));
        }
        let question = || Question::new(Kind::AddTags).text(name(to)).about(&tags);
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.add_tags(to, tags).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }
}

/// The bytes of the key, and of the value.
fn sizes(change: &MetadataChange) -> (usize, usize) {
    match change {
        MetadataChange::Set((key, value))
        | MetadataChange::Append((key, value))
        | MetadataChange::Remove((key, value)) => (key.len(), value.len()),
        MetadataChange::Delete(key) | MetadataChange::Increment((key, _)) => (key.len(), 0),
        MetadataChange::Update(value) => (0, value.len()),
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
