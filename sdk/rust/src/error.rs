//! Why an attempt failed, and whether to try again.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::bindings::exports::dacapo::task::guest as wit;

/// What a task returns: its output, or why there is none.
pub type Result<T, E = TaskError> = std::result::Result<T, E>;

/// Why an attempt failed.
///
/// Every [`std::error::Error`] becomes one through `?`: its type names it, its text and those of
/// its sources make the message. What it does not say is whether another attempt makes sense; by
/// default the task's retry policy decides. [`abort`](Self::abort) and
/// [`retry_after`](Self::retry_after) overrule it.
///
/// ```
/// use dacapo::prelude::*;
/// use std::time::Duration;
///
/// fn charge(cents: i64, busy: bool) -> Result<()> {
///     if cents <= 0 {
///         return Err(TaskError::new("InvalidAmount", format!("{cents} is no amount")).abort());
///     }
///     if busy {
///         return Err(TaskError::new("Busy", "come back later").retry_after(Duration::from_secs(90)));
///     }
///     Ok(())
/// }
/// ```
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`] itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskError {
    /// The kind of error, for example `InvalidOrder`.
    pub name: String,
    /// For people. Do not put secrets here: it is stored and shown.
    pub message: String,
    /// Where it happened, one frame a line.
    pub stack: Option<String>,
    /// What to do next.
    pub retry: RetryDecision,
}

/// Whether, and when, to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryDecision {
    /// As the task's retry policy says.
    #[default]
    ByPolicy,
    /// Not before this long from now, while attempts remain.
    After(Duration),
    /// Never: another attempt would fail as well.
    Never,
}

impl TaskError {
    /// An error of a kind of its own. It is retried as the task's policy says, and remembers the
    /// line that made it.
    #[track_caller]
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: message.into(),
            stack: Some(format!("at {}", Location::caller())),
            retry: RetryDecision::ByPolicy,
        }
    }

    /// Never try again.
    #[must_use]
    pub fn abort(mut self) -> Self {
        self.retry = RetryDecision::Never;
        self
    }

    /// Try again, but not before `delay` has passed, and only while attempts remain.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry = RetryDecision::After(delay);
        self
    }
}

impl<E: Error> From<E> for TaskError {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(short_name(std::any::type_name::<E>()), message(&error))
    }
}

/// `alloc::boxed::Box<std::io::error::Error>` → `Error`: the last word of a path.
fn short_name(type_name: &str) -> &str {
    let generic = type_name.find('<').unwrap_or(type_name.len());
    let path = &type_name[..generic];
    path.rsplit("::").next().unwrap_or(path)
}

/// The texts of the error and its sources, without what one repeats of the next.
fn message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl From<TaskError> for wit::TaskError {
    fn from(error: TaskError) -> Self {
        Self {
            name: error.name,
            message: error.message,
            stack: error.stack,
            retry: match error.retry {
                RetryDecision::ByPolicy => wit::RetryDecision::ByPolicy,
                RetryDecision::After(delay) => wit::RetryDecision::After(crate::task::milliseconds(delay)),
                RetryDecision::Never => wit::RetryDecision::Never,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the quantity is no number")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn parse(text: &str) -> Result<u32> {
        Ok(text.parse::<u32>().map_err(Outer)?)
    }

    #[test]
    fn an_error_keeps_its_kind_its_causes_and_its_line() {
        let error = parse("three").expect_err("three is not a numeral");

        assert_eq!(error.name, "Outer");
        assert_eq!(error.message, "the quantity is no number: invalid digit found in string");
        let stack = error.stack.expect("the line is known");
        assert!(stack.starts_with("at ") && stack.contains("error.rs:"), "{stack}");
        assert_eq!(error.retry, RetryDecision::ByPolicy);
    }

    #[test]
    fn the_task_can_overrule_the_policy() {
        let error = TaskError::new("Gone", "it is gone");

        assert_eq!(error.clone().abort().retry, RetryDecision::Never);
        let delay = Duration::from_secs(9);
        assert_eq!(error.retry_after(delay).retry, RetryDecision::After(delay));
    }

    #[test]
    fn a_type_is_named_without_its_path() {
        assert_eq!(short_name("core::num::error::ParseIntError"), "ParseIntError");
        assert_eq!(short_name("my::Wrapper<std::io::error::Error>"), "Wrapper");
        assert_eq!(short_name("Plain"), "Plain");
    }
}
