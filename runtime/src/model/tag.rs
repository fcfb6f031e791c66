//! What the tags of a run, and of a wait token, can be, whoever gives them.

use super::limits::{MAX_TAG_CHARS, MAX_TAGS};

/// What is answered when a run would have more than [`MAX_TAGS`].
pub const TOO_MANY: &str = "a run can have 10 tags at most";

/// Whether tags can be these; the error is for people. It says nothing of how many they are.
pub fn check_each(tags: &[String]) -> Result<(), &'static str> {
    if tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > MAX_TAG_CHARS) {
        return Err("a tag must have 1 to 128 characters");
    }
    Ok(())
}

/// Whether a new run can have these tags; the error is for people.
pub fn check(tags: &[String]) -> Result<(), &'static str> {
    if tags.len() > MAX_TAGS { Err(TOO_MANY) } else { check_each(tags) }
}
