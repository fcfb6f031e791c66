//! The run's log: lines with a level and structured attributes, and spans of time.
//!
//! ```
//! use dacapo::prelude::*;
//!
//! let order = "A-1001";
//! info!("importing {order}");
//! warn!(order = order, missing = 2; "{} items are missing", 2);
//!
//! let span = span("write report").attribute("rows", 120);
//! debug!("this line lies within the span");
//! drop(span);
//! ```
//!
//! Attributes come first, then a semicolon, then the message, as in the crate `log`. A name is an
//! identifier or a string literal (`"order.id" = id`), a value is anything that serde can write.
//!
//! What a task prints (`println!`, `eprintln!`) becomes a log line, too, at level `info` and
//! `warn`, without attributes. Outside a component, in a unit test for example, lines go to the
//! standard error stream.

use serde::Serialize;

use crate::bindings::dacapo::task::log as wit;
use crate::bindings::dacapo::task::types::Entry;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A name and a value, added to a line or a span.
#[derive(Debug, Clone)]
pub struct Attribute(Entry);

impl Attribute {
    /// An attribute. A value that cannot be written as JSON is replaced by the reason.
    pub fn new<T: Serialize + ?Sized>(name: &str, value: &T) -> Self {
        Self::from_json(name, serde_json::to_string(value))
    }

    fn from_json(name: &str, json: serde_json::Result<String>) -> Self {
        Self(Entry {
            name: name.to_owned(),
            value: json
                .unwrap_or_else(|error| serde_json::Value::String(format!("not serializable: {error}")).to_string()),
        })
    }
}

/// Writes a line, under the innermost span that is open. The macros ([`info!`](crate::info), …)
/// are shorter.
pub fn write(level: Level, message: &str, attributes: Vec<Attribute>) {
    let attributes: Vec<Entry> = attributes.into_iter().map(|Attribute(entry)| entry).collect();
    if cfg!(target_arch = "wasm32") {
        let level = match level {
            Level::Trace => wit::Level::Trace,
            Level::Debug => wit::Level::Debug,
            Level::Info => wit::Level::Info,
            Level::Warn => wit::Level::Warn,
            Level::Error => wit::Level::Error,
        };
        wit::write(level, message, &attributes);
    } else {
        let attributes: String = attributes.iter().map(|entry| format!(" {}={}", entry.name, entry.value)).collect();
        eprintln!("{level:?} {message}{attributes}");
    }
}

/// Opens a span: a stretch of the attempt, shown to scale in its trace. It ends when the value is
/// dropped.
///
/// Spans nest: one that is opened while another is open lies within it.
pub fn span(name: &str) -> Span {
    Span(cfg!(target_arch = "wasm32").then(|| wit::Span::new(name, &[])))
}

/// A span that is open. Made by [`span`].
#[derive(Debug)]
#[must_use = "a span ends when it is dropped: `let _span = span(…)` keeps it open"]
pub struct Span(Option<wit::Span>);

impl Span {
    /// Adds an attribute to a span that is just being made.
    pub fn attribute(self, name: &str, value: impl Serialize) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// Adds an attribute, or replaces it.
    pub fn set_attribute(&self, name: &str, value: impl Serialize) {
        let Attribute(entry) = Attribute::new(name, &value);
        if let Some(span) = &self.0 {
            span.set_attribute(&entry.name, &entry.value);
        }
    }

    /// Marks the span as failed.
    pub fn fail(&self, message: &str) {
        if let Some(span) = &self.0 {
            span.fail(message);
        }
    }

    /// Runs `work` within the span and closes it. An error marks the span as failed.
    ///
    /// ```
    /// # use dacapo::prelude::*;
    /// # fn example() -> Result<u32> {
    /// let total = span("sum").run(|| Ok("40".parse::<u32>()? + 2))?;
    /// # Ok(total)
    /// # }
    /// # assert_eq!(example().ok(), Some(42));
    /// ```
    pub fn run<T>(self, work: impl FnOnce() -> crate::Result<T>) -> crate::Result<T> {
        work().inspect_err(|error| self.fail(&error.to_string()))
    }
}

/// Writes a log line at a given [`Level`].
///
/// The [module documentation](mod@crate::log) shows the form of the arguments.
#[macro_export]
macro_rules! log {
    ($level:expr, $($name:tt = $value:expr),+ ; $($message:tt)+) => {
        $crate::log::write(
            $level,
            &::std::format!($($message)+),
            ::std::vec![$($crate::log::Attribute::new($crate::__attribute_name!($name), &$value)),+],
        )
    };
    ($level:expr, $($message:tt)+) => {
        $crate::log::write($level, &::std::format!($($message)+), ::std::vec::Vec::new())
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __attribute_name {
    ($name:ident) => {
        ::std::stringify!($name)
    };
    ($name:literal) => {
        $name
    };
}

/// Writes a log line for those who look at every step. See [`log`](mod@crate::log) for attributes.
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::log!($crate::log::Level::Trace, $($line)+) };
}

/// Writes a log line for those who look for a mistake. See [`log`](mod@crate::log) for attributes.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log!($crate::log::Level::Debug, $($line)+) };
}

/// Writes a log line about what was done. See [`log`](mod@crate::log) for attributes.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log!($crate::log::Level::Info, $($line)+) };
}

/// Writes a log line about what is odd. See [`log`](mod@crate::log) for attributes.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log!($crate::log::Level::Warn, $($line)+) };
}

/// Writes a log line about what went wrong. See [`log`](mod@crate::log) for attributes.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log!($crate::log::Level::Error, $($line)+) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_messages_and_attributes_in_all_forms() {
        let name = "x";
        crate::info!("plain");
        crate::info!("with {name} and {}", 1);
        crate::warn!(order = "A-1"; "with an attribute");
        crate::error!("order.id" = 7, items = [1, 2], name = name; "with {} attributes", 3);
    }

    #[test]
    fn a_value_that_is_no_json_says_so() {
        let map = std::collections::HashMap::from([(vec![1], 2)]);

        let Attribute(entry) = Attribute::new("map", &map);

        assert_eq!(entry.value, "\"not serializable: key must be a string\"");
    }
}
