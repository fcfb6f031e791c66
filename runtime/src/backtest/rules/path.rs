//! Paths into JSON, as comparisons show them, and patterns of paths, as rules name them.

use std::fmt::{Display, Formatter, Result as FmtResult};

/// Most bytes of a path that is shown; the middle of a longer one is left out.
const MAX_SHOWN_BYTES: usize = 400;
/// Most bytes of one name in it.
const MAX_NAME_BYTES: usize = 120;

/// One step into a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// To a member of an object.
    Key(&'a str),
    /// To an element of an array.
    Index(usize),
}

/// The steps from the root to a value.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a>(pub &'a [Step<'a>]);

impl Path<'_> {
    /// As people read it: `$.items[3]["odd name"]`. Long names, and the middle of long paths, are left out.
    pub fn shown(self) -> String {
        let text = self.to_string();
        if text.len() <= MAX_SHOWN_BYTES {
            return text;
        }
        let start = text.floor_char_boundary(MAX_SHOWN_BYTES / 2);
        let end = text.ceil_char_boundary(text.len() - MAX_SHOWN_BYTES / 2);
        format!("{}…{}", &text[..start], &text[end..])
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str("$")?;
        for step in self.0 {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Key(name) if name.len() > MAX_NAME_BYTES => {
                    let start = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
                    write!(f, "[{}…]", quoted(start))?;
                }
                Step::Key(name) => write!(f, "[{}]", quoted(name))?,
            }
        }
        Ok(())
    }
}

/// Whether a name can stand after a dot.
fn is_plain(name: &str) -> bool {
    let is_inner = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(is_inner)
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).expect("a string is always JSON")
}

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
    /// One step of any kind.
    Any,
    /// Any number of steps.
    Steps,
}

impl Part {
    fn takes(&self, step: Step<'_>) -> bool {
        match (self, step) {
            (Self::Any, _) => true,
            (Self::Key(name), Step::Key(key)) => name == key,
            (Self::Index(own), Step::Index(index)) => *own == index,
            (Self::Key(_) | Self::Index(_) | Self::Steps, _) => false,
        }
    }
}

impl Pattern {
    /// Reads `$.items[*].name`, `$["odd name"]`, `$..etag`. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('$').ok_or("a path starts with `$`, as in `$.items[*].id`")?;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                parts.push(Part::Steps);
                rest = if after.starts_with('[') { after } else { &rest[1..] };
                if after.is_empty() {
                    return Err("after `..` comes a name, `*` or `[`".to_owned());
                }
            }
            let (part, after) = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner)?,
                None => name(rest)?,
            };
            parts.push(part);
            rest = after;
        }
        Ok(Self(parts))
    }

    /// Whether a path is in the set. What lies below such a path is not.
    pub fn matches(&self, path: Path<'_>) -> bool {
        let (parts, steps) = (&self.0[..], path.0);
        // The last part is never `Steps`: most paths are turned away here.
        match (parts.last(), steps.last()) {
            (None, None) => return true,
            (Some(part), Some(step)) if part.takes(*step) => {}
            _ => return false,
        }
        let (mut part, mut step) = (0, 0);
        let mut retry = None;
        while step < steps.len() {
            match parts.get(part) {
                Some(Part::Steps) => {
                    retry = Some((part, step));
                    part += 1;
                }
                Some(own) if own.takes(steps[step]) => {
                    part += 1;
                    step += 1;
                }
                _ => {
                    let Some((from, taken)) = retry else { return false };
                    retry = Some((from, taken + 1));
                    (part, step) = (from + 1, taken + 1);
                }
            }
        }
        part == parts.len()
    }
}

/// What stands in brackets, and what comes after them.
fn bracket(inner: &str) -> Result<(Part, &str), String> {
    if inner.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let Some(Ok(name)) = names.next() else { return Err("a name in brackets is a JSON string".to_owned()) };
        let after = inner[names.byte_offset()..].strip_prefix(']').ok_or("a bracket is not closed")?;
        return Ok((Part::Key(name), after));
    }
    let (inside, after) = inner.split_once(']').ok_or("a bracket is not closed")?;
    let part = match inside {
        "*" => Part::Any,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Part::Index(digits.parse().map_err(|_| "an index is a number")?)
        }
        _ => return Err("in brackets stands a number, `*` or a name in double quotes".to_owned()),
    };
    Ok((part, after))
}

/// A dot and a name, and what comes after them.
fn name(rest: &str) -> Result<(Part, &str), String> {
    let rest = rest.strip_prefix('.').ok_or("a step starts with `.` or `[`")?;
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    match name {
        "*" => Ok((Part::Any, after)),
        "" => Err("a name is missing after `.`".to_owned()),
        odd if odd.contains(['*', '"', '\'', ']']) || odd.contains(char::is_whitespace) => {
            Err("a name with such characters is written as [\"…\"]".to_owned())
        }
        name => Ok((Part::Key(name.to_owned()), after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Index, Key};

    #[track_caller]
    fn check(pattern: &str, path: &[Step<'_>], expected: bool) {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        assert_eq!(pattern.matches(Path(path)), expected);
    }

    #[test]
    fn a_pattern_takes_the_paths_it_describes() {
        check("$", &[], true);
        check("$", &[Key("a")], false);
        check("$.a", &[Key("a")], true);
        check("$.a", &[Key("a"), Key("b")], false);
        check("$.a", &[Key("b"), Key("a")], false);
        check("$.a[3].b", &[Key("a"), Index(3), Key("b")], true);
        check("$.a[3].b", &[Key("a"), Index(4), Key("b")], false);
        check("$.a[*].b", &[Key("a"), Index(4), Key("b")], true);
        check("$.*.b", &[Key("a"), Key("b")], true);
        check("$[\"a.b\"]", &[Key("a.b")], true);
        check("$[\"3\"]", &[Index(3)], false);
        check("$..id", &[Key("id")], true);
        check("$..id", &[Key("a"), Index(1), Key("id")], true);
        check("$..id", &[Key("id"), Index(1)], false);
        check("$..a[*]..b", &[Key("a"), Key("a"), Index(1), Key("x"), Key("b"), Key("b")], true);
        check("$..a[*]..b", &[Key("a"), Key("x"), Key("b")], true);
        check("$..a.c..b", &[Key("a"), Key("x"), Key("b")], false);
        check("$..[2]", &[Key("a"), Index(2)], true);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in
            ["", "a", "$a", "$.", "$..", "$...", "$.a.", "$[", "$[x]", "$[-1]", "$[]", "$[\"a]", "$.a b", "$['a']"]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shown_path_is_a_pattern_of_itself() {
        let path = [Key("a"), Index(3), Key("odd \"name\"\n"), Key(""), Key("*"), Key("x-y_Z")];
        let shown = Path(&path).shown();
        assert_eq!(shown, r#"$.a[3]["odd \"name\"\n"][""]["*"].x-y_Z"#);
        assert!(Pattern::parse(&shown).expect("a pattern").matches(Path(&path)));
        let long = "ä".repeat(10_000);
        assert!(Path(&[Key(&long); 100]).shown().len() < 2 * MAX_SHOWN_BYTES);
    }
}
