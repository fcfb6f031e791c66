//! Which calls do not count.

use crate::model::replay::{Effect, EffectKind};

/// A set of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectPattern {
    kind: EffectKind,
    /// What the target starts with.
    start: String,
}

impl EffectPattern {
    /// Reads a kind, a kind and the start of a target, or the start of a URL. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_url(text) {
            return Ok(Self { kind: EffectKind::Http, start: text.to_owned() });
        }
        let (kind, start) = text.split_once(' ').unwrap_or((text, ""));
        let Some(kind) = EffectKind::parse(kind) else {
            return Err("an effect starts with `https://`, `http://` or a kind: http, trigger, batch-trigger, \
                        create-token, complete-token, metadata, tags, stream, file, environment or wait"
                .to_owned());
        };
        Ok(Self { kind, start: start.trim_start().to_owned() })
    }

    /// Whether a call is in the set.
    pub fn matches(&self, effect: &Effect) -> bool {
        if self.kind != effect.kind {
            return false;
        }
        if self.kind != EffectKind::Http {
            return effect.target.starts_with(&self.start);
        }
        let (method, url) = effect.target.split_once(' ').unwrap_or(("", &effect.target));
        match self.start.split_once(' ') {
            Some((own, start)) => own.eq_ignore_ascii_case(method) && starts_url(url, start),
            None if is_url(&self.start) => starts_url(url, &self.start),
            None => self.start.is_empty() || self.start.eq_ignore_ascii_case(method),
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Whether a URL starts so, with the whole of its host.
fn starts_url(url: &str, start: &str) -> bool {
    let Some(rest) = url.strip_prefix(start) else { return false };
    let names_a_path = start.split_once("://").is_some_and(|(_, after)| after.contains('/'));
    names_a_path || rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

/// The host, in lower case and with its port if it names one, that a call of this target asks.
pub(in crate::backtest) fn host_of(target: &str) -> Option<String> {
    let url = target.split_once(' ').map_or(target, |(_, url)| url);
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::replay::AnsweredBy;

    #[track_caller]
    fn check(pattern: &str, kind: EffectKind, target: &str, expected: bool) {
        let effect = Effect {
            kind,
            target: target.to_owned(),
            arguments: String::new(),
            digest: 0,
            answered_by: AnsweredBy::Recorded,
        };
        assert_eq!(EffectPattern::parse(pattern).expect("a pattern").matches(&effect), expected, "{pattern}");
    }

    #[test]
    fn a_pattern_takes_the_calls_it_describes() {
        use EffectKind::{Http, Tags, Trigger};
        check("tags", Tags, "", true);
        check("tags", Trigger, "tags", false);
        check("trigger send-", Trigger, "send-mail", true);
        check("trigger send-", Trigger, "resend-mail", false);
        check("http", Http, "GET https://a.example/", true);
        check("http POST", Http, "GET https://a.example/", false);
        check("http get", Http, "GET https://a.example/", true);
        check("http GET https://a.example/x", Http, "GET https://a.example/xy?z", true);
        check("http POST https://a.example/x", Http, "GET https://a.example/x", false);
        check("https://a.example", Http, "GET https://a.example/x", true);
        check("https://a.example", Http, "GET https://a.example", true);
        check("https://a.example", Http, "GET https://a.example?x", true);
        check("https://a.example", Http, "GET https://a.example.evil.org/", false);
        check("https://a.example", Http, "GET https://a.example:x@evil.org/", false);
        check("https://a.example", Http, "GET http://a.example/", false);
        check("http https://a.example/", Http, "PUT https://a.example/", true);
        check("https://", Http, "PUT https://a.example/", false);
    }

    #[test]
    fn what_names_no_kind_is_refused() {
        for text in ["", "mail", "a.example", "HTTP", " http"] {
            assert!(EffectPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_target_is_whom_it_asks() {
        assert_eq!(host_of("GET https://A.example:8080/x@y").as_deref(), Some("a.example:8080"));
        assert_eq!(host_of("GET https://good.example@evil.org?/").as_deref(), Some("evil.org"));
        assert_eq!(host_of("nothing"), None);
    }
}
