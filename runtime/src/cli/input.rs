//! Reads what a person typed: JSON, lengths of time, files and standard input.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::Usage;

/// Most that is read from a file or from standard input.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;

/// A payload: an argument, `-` for standard input, or a file.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PayloadArguments {
    /// The payload as JSON; `-` reads it from standard input
    #[arg(value_name = "PAYLOAD", allow_negative_numbers = true)]
    payload: Option<String>,
    /// File that holds the payload as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    payload_file: Option<std::path::PathBuf>,
}

impl PayloadArguments {
    /// The payload's JSON text, where there is one.
    pub(super) fn read(&self) -> anyhow::Result<Option<Box<RawValue>>> {
        match (&self.payload, &self.payload_file) {
            (Some(text), _) if text == "-" => Ok(Some(payload(&read("-".as_ref())?, Origin::Input)?)),
            (Some(text), _) => Ok(Some(payload(text, Origin::Argument)?)),
            (None, Some(path)) => Ok(Some(payload(&read(path)?, Origin::Input)?)),
            (None, None) => Ok(None),
        }
    }
}

/// Where a text was written, which decides what may have gone wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Argument,
    Input,
}

fn payload(text: &str, origin: Origin) -> Result<Box<RawValue>, Usage> {
    serde_json::from_str::<Box<RawValue>>(text.trim()).map_err(|error| {
        let hint = match origin {
            Origin::Argument => quoting_hint(text),
            Origin::Input => String::new(),
        };
        Usage::new(format!("the payload is not JSON: {error}{hint}"))
    })
}

fn quoting_hint(text: &str) -> String {
    if text.trim_start().starts_with(['{', '[']) {
        "\nput it in single quotes, so that the shell leaves it alone: dacapo trigger TASK '{\"name\": \"Ada\"}'".into()
    } else if text.contains('\'') || text.chars().count() > 40 {
        "\na text needs its own double quotes within the shell's single quotes, or use --payload-file".into()
    } else {
        format!("\na text needs its own double quotes within the shell's: dacapo trigger TASK '\"{text}\"'")
    }
}

/// Reads an argument that must be JSON; `name` names it in the error.
pub(super) fn json(name: &str, text: &str) -> Result<Value, Usage> {
    serde_json::from_str(text).map_err(|error| Usage::new(format!("{name} is not JSON: {error}{}", quoting_hint(text))))
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> Result<String, Usage> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text))
    };
    let shown = path.display();
    match read {
        Ok(bytes) if bytes as u64 > MAX_INPUT_BYTES => {
            Err(Usage::new(format!("{shown} is larger than {} MiB", MAX_INPUT_BYTES >> 20)))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(Usage::new(format!("cannot read {shown}: {error}"))),
    }
}

/// A length of time on the command line: `90s`, `5m`, `2h`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a length of time: write for example 90s, 5m or 2h");
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit_seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let read = payload(text, Origin::Argument).map(|json| json.get().to_owned());
        let read = read.unwrap_or_else(|error| error.to_string());
        assert!(read.contains(expected), "{read}");
    }

    #[test]
    fn a_payload_is_sent_as_it_was_typed() {
        check(r#"{"a":  1.0}"#, r#"{"a":  1.0}"#);
        check(" 5 ", "5");
        check("\"text\"", "\"text\"");
    }

    #[test]
    fn a_payload_that_is_not_json_explains_quoting() {
        check("{name: Ada}", "single quotes, so that the shell");
        check("Ada", r#"'"Ada"'"#);
        check("it's", "--payload-file");
        check("", "the payload is not JSON");
    }

    #[test]
    fn lengths_of_time_have_a_unit_or_are_seconds() {
        let seconds = |text| duration(text).ok().map(|length| length.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("5m"), Some(300));
        assert_eq!(seconds("2h"), Some(7_200));
        for bad in ["", "s", "5 m", "-1", "5d", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
