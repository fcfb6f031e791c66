//! The run's metadata: one JSON object, 256 KiB and 32 levels of objects and lists at most, that
//! callers can watch while the run goes on. Use it for progress and for partial results.
//!
//! ```
//! use dacapo::prelude::*;
//!
//! fn import(_: &Context, files: Vec<String>) -> Result<()> {
//!     metadata::set("status", "importing")?;
//!     for file in &files {
//!         metadata::append("done", file)?;
//!         metadata::increment("progress", 1.0 / files.len() as f64)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Changes show within a second, and at the latest when the attempt ends. They outlive a failed
//! attempt. A key that begins with `$.` is a path, for example `$.steps.done`. [`parent`] and [`root`]
//! change the metadata of the runs that this one descends from.
//!
//! Outside a component, in a unit test for example, there is no metadata: changes go nowhere.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bindings::dacapo::task::metadata as wit;

mod relative;

pub use relative::{RelativeMetadata, parent, root};

/// Why metadata could not be changed or read. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The value cannot be written as JSON, is not of the type that was asked for, or would make the
    /// object too deep.
    InvalidJson(String),
    /// A number was expected under this key.
    NotANumber(String),
    /// The object would be larger than the limit.
    TooLarge {
        /// The limit.
        max_bytes: u32,
    },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidJson(reason) => write!(f, "the metadata do not fit: {reason}"),
            Self::NotANumber(key) => write!(f, "the metadata have no number under \"{key}\""),
            Self::TooLarge { max_bytes } => {
                write!(f, "the metadata would be larger than {max_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for MetadataError {}

impl From<serde_json::Error> for MetadataError {
    fn from(error: serde_json::Error) -> Self {
        Self::InvalidJson(error.to_string())
    }
}

impl From<wit::MetadataError> for MetadataError {
    fn from(error: wit::MetadataError) -> Self {
        match error {
            wit::MetadataError::InvalidJson(reason) => Self::InvalidJson(reason),
            wit::MetadataError::NotANumber(key) => Self::NotANumber(key),
            wit::MetadataError::TooLarge(max_bytes) => Self::TooLarge { max_bytes },
        }
    }
}

type Result<T> = std::result::Result<T, MetadataError>;

/// The whole object.
pub fn all() -> Result<Map<String, Value>> {
    if cfg!(target_arch = "wasm32") { Ok(serde_json::from_str(&wit::all())?) } else { Ok(Map::new()) }
}

/// The value under a key.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    match cfg!(target_arch = "wasm32").then(|| wit::get(key)).flatten() {
        Some(json) => Ok(Some(serde_json::from_str(&json)?)),
        None => Ok(None),
    }
}

/// Puts a value under a key.
pub fn set(key: &str, value: impl Serialize) -> Result<()> {
    let json = serde_json::to_string(&value)?;
    change(|| wit::set(key, &json))
}

/// Removes a key; does nothing where it is missing.
pub fn delete(key: &str) -> Result<()> {
    change(|| wit::delete(key))
}

/// Adds a value at the end of the list under a key. A missing list begins empty; a value that is
/// not a list becomes the first item of one.
pub fn append(key: &str, value: impl Serialize) -> Result<()> {
    let json = serde_json::to_string(&value)?;
    change(|| wit::append(key, &json))
}

/// Removes all items that equal `value` from the list under a key.
pub fn remove(key: &str, value: impl Serialize) -> Result<()> {
    let json = serde_json::to_string(&value)?;
    change(|| wit::remove(key, &json))
}

/// Adds to the number under a key; a missing one counts as 0. A negative number takes away.
pub fn increment(key: &str, by: impl Into<f64>) -> Result<()> {
    let by = by.into();
    change(|| wit::increment(key, by))
}

/// Replaces the whole object. `value` must serialize as an object.
pub fn update(value: impl Serialize) -> Result<()> {
    let json = serde_json::to_string(&value)?;
    change(|| wit::update(&json))
}

fn change(change: impl FnOnce() -> std::result::Result<(), wit::MetadataError>) -> Result<()> {
    if cfg!(target_arch = "wasm32") {
        change()?;
    }
    Ok(())
}
