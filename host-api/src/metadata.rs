//! `dacapo:task/metadata`: bounds what the guest sends and hands it to [`crate::Services`], unless the
//! journal has the answer: a change is made once.

use crate::TaskCtx;
use crate::generated::dacapo::task::metadata::{Host, MetadataError as GuestError};
use crate::journal::{Kind, Question};
use crate::services::{MetadataChange, MetadataError};
use crate::tape::Pins;

/// Most bytes of a key or path.
const MAX_KEY_BYTES: usize = 4_096;

type Answer = wasmtime::Result<Result<(), GuestError>>;

impl TaskCtx {
    /// Refuses a change that is too large to be looked at.
    pub(crate) fn check_change(&self, change: &MetadataChange) -> Result<(), GuestError> {
        if change.key().len() > MAX_KEY_BYTES || change.value_bytes() > self.metadata_bytes {
            return Err(GuestError::TooLarge(u32::try_from(self.metadata_bytes).unwrap_or(u32::MAX)));
        }
        Ok(())
    }

    fn change(&mut self, kind: Kind, change: MetadataChange) -> Answer {
        if let Err(refused) = self.check_change(&change) {
            return Ok(Err(refused));
        }
        let Self { journal, logger, pins, .. } = self;
        let question = || Question::new(kind).text(change.key()).about(&change);
        if let Some(answer) = journal.past(question)? {
            return Ok(answer);
        }
        if let Some(pins) = pins {
            pins.changes(&question());
        }
        let changed = logger.services(|services| services.change_metadata(change));
        let answer = changed.unwrap_or(Ok(())).map_err(GuestError::from);
        journal.keep(&answer);
        Ok(answer)
    }
}

impl Host for TaskCtx {
    fn all(&mut self) -> wasmtime::Result<String> {
        let Self { journal, logger, pins, .. } = self;
        let own = || logger.services(|services| services.metadata()).unwrap_or_else(|| "{}".into());
        let live = || Ok(pins.as_ref().and_then(Pins::metadata).unwrap_or_else(own));
        journal.ask_now(|| Question::new(Kind::MetadataAll), live)
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        if key.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        let Self { journal, logger, pins, .. } = self;
        let question = || Question::new(Kind::MetadataGet).text(&key).about(&key);
        let own = || logger.services(|services| services.metadata_value(&key)).flatten();
        let seen = || pins.as_ref().and_then(|pins| pins.metadata_value(&key));
        journal.ask_now(question, || Ok(seen().unwrap_or_else(own)))
    }

    fn set(&mut self, key: String, value: String) -> Answer {
        self.change(Kind::MetadataSet, MetadataChange::Set(key, value))
    }

    fn delete(&mut self, key: String) -> Answer {
        self.change(Kind::MetadataDelete, MetadataChange::Delete(key))
    }

    fn append(&mut self, key: String, value: String) -> Answer {
        self.change(Kind::MetadataAppend, MetadataChange::Append(key, value))
    }

    fn remove(&mut self, key: String, value: String) -> Answer {
        self.change(Kind::MetadataRemove, MetadataChange::Remove(key, value))
    }

    fn increment(&mut self, key: String, by: f64) -> Answer {
        self.change(Kind::MetadataIncrement, MetadataChange::Increment(key, by))
    }

    fn update(&mut self, value: String) -> Answer {
        self.change(Kind::MetadataUpdate, MetadataChange::Update(value))
    }
}

impl From<MetadataError> for GuestError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::InvalidJson(why) => Self::InvalidJson(why),
            MetadataError::NotANumber(key) => Self::NotANumber(key),
            MetadataError::TooLarge(bytes) => Self::TooLarge(bytes),
        }
    }
}
