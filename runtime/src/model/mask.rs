//! Values that nobody is to read in a report: those of environment variables, wherever they turn up.
//!
//! Short values are left: they would turn up everywhere. So are the names of hosts, which reports are about; of a URL,
//! what follows the host counts.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// Stands for what is left out.
const MASKED: &str = "[redacted]";
/// Fewest bytes of a value that is looked for.
const MIN_BYTES: usize = 8;
/// Stands at the end of a text that was cut: a part of a value may stand before it.
const CUT: char = '…';

/// A text from this length on is looked through for all values at once before it is looked through for each.
const LONG_BYTES: usize = 4 << 10;
/// Most bytes of all values together for which that is done: what it takes grows with them.
const MAX_TOGETHER_BYTES: usize = 64 << 10;

/// Values that are left out of texts. Clones share them.
#[derive(Clone, Default)]
pub struct Mask(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// As they may be written, the longest first.
    forms: Vec<String>,
    /// Finds any of them, once that was wanted; `None`: they are too many.
    together: OnceLock<Option<AhoCorasick>>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} forms)", self.0.forms.len())
    }
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.forms == other.0.forms
    }
}

impl Eq for Mask {}

impl Mask {
    /// One that looks for these values.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let secrets = values.into_iter().filter_map(secret_of).filter(|secret| *secret != MASKED);
        Self::of(secrets.flat_map(forms_of).collect())
    }

    /// One that looks for what either looks for.
    pub fn and(&self, other: &Self) -> Self {
        if self == other || other.0.forms.is_empty() {
            return self.clone();
        }
        Self::of(self.0.forms.iter().chain(&other.0.forms).cloned().collect())
    }

    fn of(mut forms: Vec<String>) -> Self {
        // Within a longer value, a shorter one is not found before it.
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self(Arc::new(Inner { forms, together: OnceLock::new() }))
    }

    /// Whether one of the values may be in these bytes.
    fn may_be_in(&self, bytes: &[u8]) -> bool {
        let Inner { forms, together } = &*self.0;
        if bytes.len() < LONG_BYTES || forms.len() < 2 {
            return !forms.is_empty();
        }
        let together = together.get_or_init(|| {
            let is_small = forms.iter().map(String::len).sum::<usize>() <= MAX_TOGETHER_BYTES;
            let build = || AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(forms).ok();
            is_small.then(build).flatten()
        });
        together.as_ref().is_none_or(|together| together.is_match(bytes))
    }

    /// The text without the values.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        let forms = if self.may_be_in(text.as_bytes()) { self.0.forms.as_slice() } else { &[] };
        for form in forms {
            if masked.contains(form.as_str()) {
                masked = Cow::Owned(masked.replace(form.as_str(), MASKED));
            }
        }
        match masked.strip_suffix(CUT).and_then(|cut| self.begun_at(cut)) {
            Some(at) => Cow::Owned(format!("{}{MASKED}{CUT}", &masked[..at])),
            None => masked,
        }
    }

    /// Where the values stand in these bytes, or begin that go on beyond their end: in ascending order, none of the places
    /// over another.
    pub fn places(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let forms = if self.may_be_in(bytes) { self.0.forms.as_slice() } else { &[] };
        let mut end = 0;
        for chunk in bytes.utf8_chunks() {
            let (start, text) = (end, chunk.valid());
            let places = |form: &String| {
                let length = form.len();
                text.match_indices(form.as_str())
                    .map(move |(at, _)| start + at..start + at + length)
                    .collect::<Vec<_>>()
            };
            found.extend(forms.iter().flat_map(places));
            end += text.len() + chunk.invalid().len();
            if end == bytes.len() {
                // A character may be cut as well.
                found.extend(self.begun_at(text).map(|at| start + at..end));
            }
        }
        found.sort_by_key(|place| place.start);
        let mut places: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for place in found {
            match places.last_mut().filter(|last| place.start < last.end) {
                Some(last) => last.end = last.end.max(place.end),
                None => places.push(place),
            }
        }
        places
    }

    /// Where a value begins that goes on beyond the end of a text.
    fn begun_at(&self, text: &str) -> Option<usize> {
        let begins = |form: &String| {
            let most = form.len().min(text.len() + 1) - 1;
            let lengths = (MIN_BYTES..=most).rev().filter(|length| form.is_char_boundary(*length));
            lengths.map(|length| &form[..length]).find(|begun| text.ends_with(begun)).map(str::len)
        };
        self.0.forms.iter().filter_map(begins).max().map(|length| text.len() - length)
    }
}

/// What of a value is looked for; `None`: nothing.
fn secret_of(value: &str) -> Option<&str> {
    let value = value.trim();
    let secret = match value.split_once("://") {
        Some((_, rest)) => match rest.split_once('/').unwrap_or((rest, "")) {
            (host, _) if host.contains('@') => value,
            (_, path) => path,
        },
        None if is_host(value) => "",
        None => value,
    };
    (secret.len() >= MIN_BYTES).then_some(secret)
}

/// Whether it is the name of a host, perhaps with a port.
fn is_host(value: &str) -> bool {
    let (name, port) = value.split_once(':').unwrap_or((value, ""));
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.')
        && name.split('.').all(is_label)
        && last.bytes().all(|byte| byte.is_ascii_lowercase())
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// A value as it stands in plain texts, in URLs and between quotes.
fn forms_of(secret: &str) -> [String; 3] {
    let mut in_url = String::with_capacity(secret.len());
    for byte in secret.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => in_url.push(byte.into()),
            byte => in_url.push_str(&format!("%{byte:02X}")),
        }
    }
    let mut quoted = String::with_capacity(secret.len());
    for char in secret.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char => quoted.push(char),
        }
    }
    [secret.to_owned(), in_url, quoted]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, text: &str, expected: &str) {
        assert_eq!(Mask::new([value]).apply(text), expected);
    }

    #[test]
    fn values_are_left_out_however_they_are_written() {
        check("open-sesame", "x-key: open-sesame!", "x-key: [redacted]!");
        check("open sesame", "https://a.example/?q=open%20sesame&p=1", "https://a.example/?q=[redacted]&p=1");
        check("say \"please\"", r#"{"a":"say \"please\""}"#, r#"{"a":"[redacted]"}"#);
        check(
            "https://hooks.example/services/T0/B1/x",
            "POST https://hooks.example/services/T0/B1/x",
            "POST https://hooks.example/[redacted]",
        );
        check("postgres://me:secret@db.example/a", "to postgres://me:secret@db.example/a", "to [redacted]");
    }

    #[test]
    fn values_have_places_in_bytes_that_are_no_text() {
        let mask = Mask::new(["open-sesame-7431", "sesame-7431-and-more"]);
        let places =
            |bytes: &[u8]| mask.places(bytes).into_iter().map(|place| (place.start, place.end)).collect::<Vec<_>>();
        assert_eq!(places(b"\xFF open-sesame-7431\xFFopen-sesame-7431"), [(2, 18), (19, 35)]);
        assert_eq!(places(b"open-sesame-7431-and-more"), [(0, 25)], "one over the other");
        assert_eq!(places(b"key=open-ses"), [(4, 12)], "it goes on");
        assert!(places(b"key=open-ses!").is_empty());
        assert_eq!(Mask::new(["open-sesame\u{2026}"]).places(b"open-sesame\xE2\x80").first(), Some(&(0..13)));
    }

    #[test]
    fn values_are_found_in_long_texts_however_many_there_are() {
        let filler = "nothing to see here; ".repeat(400);
        for values in [3, 400, 4_000] {
            let values: Vec<String> = (0..values).map(|number| format!("open-sesame-{number:05}")).collect();
            let mask = Mask::new(values.iter().map(String::as_str));
            assert!(matches!(mask.apply(&filler), Cow::Borrowed(_)));
            assert_eq!(mask.apply(&format!("{filler}open-sesame-00002")), format!("{filler}[redacted]"));
            assert_eq!(mask.apply(&format!("{filler}open-sesame-…")), format!("{filler}[redacted]…"), "it goes on");
            let (text, at) = (format!("{filler}open-sesame-00001{filler}"), filler.len());
            assert_eq!(mask.places(text.as_bytes()).first(), Some(&(at..at + 17)));
        }
    }

    #[test]
    fn what_is_short_or_names_a_host_is_left() {
        check("dev", "the dev environment", "the dev environment");
        check("https://api.example.com", "GET https://api.example.com/v1", "GET https://api.example.com/v1");
        check("api.example.com:8443", "GET https://api.example.com:8443/", "GET https://api.example.com:8443/");
        check("[redacted]", "[redacted]", "[redacted]");
    }

    #[test]
    fn a_value_that_was_cut_is_left_out_too() {
        check("open-sesame-7431", "key=open-sesame-…", "key=[redacted]…");
        check("open-sesame-7431", "key=open…", "key=open…");
        check("open-sesame-7431", "open-sesame-7431…", "[redacted]…");
    }

    #[test]
    fn longer_values_come_first_and_masks_join() {
        let mask = Mask::new(["open-sesame"]).and(&Mask::new(["open-sesame-7431", "a.b"]));
        assert_eq!(mask.apply("open-sesame-7431 open-sesame a.b"), "[redacted] [redacted] a.b");
        assert!(!format!("{mask:?}").contains("sesame"));
    }
}
