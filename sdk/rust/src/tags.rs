//! The run's tags, by which people find it: 10 at most, of 128 characters each.
//!
//! ```
//! use dacapo::prelude::*;
//!
//! fn import(_: &Context, customer: String) -> Result<()> {
//!     tags::add([format!("customer:{customer}"), "import".into()])?;
//!     tags::add_to(Relative::Root, ["has-import"])?;
//!     Ok(())
//! }
//! ```
//!
//! [`Run::tags`](crate::context::Run::tags) has those it was triggered with. Outside a component, in a
//! unit test for example, tags go nowhere.

use std::fmt;

use crate::Relative;
use crate::bindings::dacapo::task::relatives as wit;

/// Adds tags to this run: all of them, or none.
pub fn add<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Result<(), TagError> {
    add_to(Relative::ThisRun, tags)
}

/// Adds tags to this run, its parent, or the root: all of them, or none.
pub fn add_to<T: Into<String>>(relative: Relative, tags: impl IntoIterator<Item = T>) -> Result<(), TagError> {
    let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
    if cfg!(target_arch = "wasm32") { wit::add_tags(relative.into(), &tags).map_err(TagError) } else { Ok(()) }
}

/// Why no tag was added; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagError(String);

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TagError {}
