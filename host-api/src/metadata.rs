//! `dacapo:task/metadata`: bounds what the guest sends and hands it to [`crate::Services`].

use crate::TaskCtx;
use crate::generated::dacapo::task::metadata::{Host, MetadataError as GuestError};
use crate::services::{MetadataChange, MetadataError};

/// Most bytes of a key or path.
const MAX_KEY_BYTES: usize = 4_096;

type Answer = wasmtime::Result<Result<(), GuestError>>;

impl TaskCtx {
    fn change(&mut self, key: usize, value: usize, change: MetadataChange) -> Answer {
        if key > MAX_KEY_BYTES || value > self.metadata_bytes {
            let limit = u32::try_from(self.metadata_bytes).unwrap_or(u32::MAX);
            return Ok(Err(GuestError::TooLarge(limit)));
        }
        let changed = self.logger.services(|services| services.change_metadata(change));
        Ok(changed.unwrap_or(Ok(())).map_err(GuestError::from))
    }
}

impl Host for TaskCtx {
    fn all(&mut self) -> wasmtime::Result<String> {
        Ok(self.logger.services(|services| services.metadata()).unwrap_or_else(|| "{}".into()))
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        if key.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        Ok(self.logger.services(|services| services.metadata_value(&key)).flatten())
    }

    fn set(&mut self, key: String, value: String) -> Answer {
        self.change(key.len(), value.len(), MetadataChange::Set(key, value))
    }

    fn delete(&mut self, key: String) -> Answer {
        self.change(key.len(), 0, MetadataChange::Delete(key))
    }

    fn append(&mut self, key: String, value: String) -> Answer {
        self.change(key.len(), value.len(), MetadataChange::Append(key, value))
    }

    fn remove(&mut self, key: String, value: String) -> Answer {
        self.change(key.len(), value.len(), MetadataChange::Remove(key, value))
    }

    fn increment(&mut self, key: String, by: f64) -> Answer {
        self.change(key.len(), 0, MetadataChange::Increment(key, by))
    }

    fn update(&mut self, value: String) -> Answer {
        self.change(0, value.len(), MetadataChange::Update(value))
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
