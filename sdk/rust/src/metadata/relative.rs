//! Metadata of the parent and of the root.

use serde::Serialize;

use super::{MetadataError, Result};
use crate::Relative;
use crate::bindings::dacapo::task::relatives as wit;

/// The metadata of the run that triggered this one; this run's own, where none did.
///
/// ```
/// use dacapo::prelude::*;
///
/// fn resize(_: &Context, image: String) -> Result<()> {
///     metadata::parent().increment("images", 1)?;
///     metadata::root().append("log", format!("resized {image}"))?;
///     Ok(())
/// }
/// ```
pub fn parent() -> RelativeMetadata {
    RelativeMetadata(Relative::Parent)
}

/// The metadata of the first run of the tree, which may be this one.
pub fn root() -> RelativeMetadata {
    RelativeMetadata(Relative::Root)
}

/// The metadata of another run of the tree, which can be changed, but not read. Made by [`parent`] and
/// [`root`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RelativeMetadata(Relative);

impl RelativeMetadata {
    /// Puts a value under a key.
    pub fn set(self, key: &str, value: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&value)?;
        self.change(wit::MetadataChange::Set((key.to_owned(), json)))
    }

    /// Removes a key; does nothing where it is missing.
    pub fn delete(self, key: &str) -> Result<()> {
        self.change(wit::MetadataChange::Delete(key.to_owned()))
    }

    /// Adds a value at the end of the list under a key.
    pub fn append(self, key: &str, value: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&value)?;
        self.change(wit::MetadataChange::Append((key.to_owned(), json)))
    }

    /// Removes all items that equal `value` from the list under a key.
    pub fn remove(self, key: &str, value: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&value)?;
        self.change(wit::MetadataChange::Remove((key.to_owned(), json)))
    }

    /// Adds to the number under a key; a missing one counts as 0. Children that do so at the same time
    /// do not overwrite one another.
    pub fn increment(self, key: &str, by: impl Into<f64>) -> Result<()> {
        self.change(wit::MetadataChange::Increment((key.to_owned(), by.into())))
    }

    /// Replaces the whole object. `value` must serialize as an object.
    pub fn update(self, value: impl Serialize) -> Result<()> {
        self.change(wit::MetadataChange::Update(serde_json::to_string(&value)?))
    }

    fn change(self, change: wit::MetadataChange) -> Result<()> {
        if cfg!(target_arch = "wasm32") {
            wit::change_metadata(self.0.into(), &change).map_err(MetadataError::from)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_go_nowhere_outside_a_component() {
        assert_eq!(parent().increment("n", 1), Ok(()));
        let no_json = std::collections::HashMap::from([(vec![1], 2)]);
        assert!(matches!(root().set("n", no_json), Err(MetadataError::InvalidJson(_))));
    }
}
