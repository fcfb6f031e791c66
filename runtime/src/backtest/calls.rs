//! What a stored run has asked its host for, and what it was told of itself, for people: without the values of its
//! variables.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::jobs::{BacktestError, Backtests};
use super::replay::kind_of;
use super::source::Source;
use super::stored::NotReplayable;
use crate::api::{CallItem, CallList, HttpCall, RunContext};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits::{MAX_SHOWN_ARGUMENT_BYTES, MAX_SHOWN_CALLS, MAX_SHOWN_TARGET_BYTES};
use crate::model::mask::Mask;
use crate::sandbox::context::{Context, Entry};
use crate::sandbox::recording::{CallSeen, HttpSeen, redacted_context};
use crate::sandbox::world::HostFault;

impl Backtests {
    /// The calls of the last attempt of a run that reached beyond it, or waited; or why there are none.
    ///
    /// # Errors
    ///
    /// If there is no such run, or too many others wait already.
    pub async fn calls(&self, environment: EnvironmentId, run: RunId) -> Result<CallList, BacktestError> {
        let sources = self.sources.clone();
        let list = async move {
            let source = match sources.load(environment, run).await {
                Ok(source) => source,
                Err(NotReplayable::NoRecording(why)) => {
                    return Ok(CallList { calls: Vec::new(), is_cut: false, note: Some(why) });
                }
                Err(error) => return Err(error.into()),
            };
            let listed = tokio::task::spawn_blocking(move || list(&source)).await;
            let listed = listed.map_err(|error| BacktestError::Host(error.to_string()))?;
            listed.map_err(|fault| BacktestError::NotReplayable(fault.to_string()))
        };
        self.reading(list).await
    }

    /// What the last attempt of a run was told of itself; where that is not on record, what it would be told now.
    ///
    /// # Errors
    ///
    /// If there is no such run or no version that it runs on, or too many others wait already.
    pub async fn told(&self, environment: EnvironmentId, run: RunId) -> Result<RunContext, BacktestError> {
        let sources = self.sources.clone();
        let told = async move {
            let (context, mask, is_recorded) = match sources.load(environment, run).await {
                Ok(Source { context, recording, observed, .. }) => {
                    (context, observed.secrets, recording.context.is_some())
                }
                Err(NotReplayable::NoRecording(_)) => {
                    let (context, mask) = sources.context_now(environment, run).await?;
                    (context, mask, false)
                }
                Err(error) => return Err(error.into()),
            };
            let shown = tokio::task::spawn_blocking(move || shown(&redacted_context(&context, &mask))).await;
            let context = shown.map_err(|error| BacktestError::Host(error.to_string()))?;
            Ok(RunContext { context, is_recorded })
        };
        self.reading(told).await
    }

    /// Looks at recordings, as few do at a time. The place is free when that is done, whether or not somebody still wants
    /// the answer: until then, what was read is in memory.
    ///
    /// # Errors
    ///
    /// If too many others wait already, or as `look` says.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        look: impl Future<Output = Result<T, BacktestError>> + Send + 'static,
    ) -> Result<T, BacktestError> {
        let inside = self.door.enter_to_read().await?;
        let looking = tokio::spawn(async move {
            let _inside = inside;
            look.await
        });
        looking.await.map_err(|error| BacktestError::Host(error.to_string()))?
    }
}

fn list(source: &Source) -> Result<CallList, HostFault> {
    let (calls, is_cut) = source.recording.calls_seen(MAX_SHOWN_CALLS)?;
    let began = i64::try_from(source.context.attempt.started_at).ok();
    let began = began.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let attempt = Attempt { number: source.context.attempt.number, began };
    let item = |call| item(call, &attempt, &source.observed.secrets);
    Ok(CallList { calls: calls.into_iter().map(item).collect(), is_cut, note: None })
}

/// Whose calls they are.
struct Attempt {
    number: u32,
    began: Option<Timestamp>,
}

fn item(call: CallSeen, attempt: &Attempt, mask: &Mask) -> CallItem {
    let masked = |text: &str| mask.apply(text).into_owned();
    let start = |text: &str| cut(masked(text), MAX_SHOWN_TARGET_BYTES);
    let at = |us: u64| attempt.began.and_then(|began| began.checked_add(Duration::from_micros(us)).ok());
    let duration_us = call.asked_us.zip(call.answered_us).map(|(asked, answered)| answered.saturating_sub(asked));
    CallItem {
        seq: call.number,
        attempt: attempt.number,
        kind: kind_of(call.kind).as_str().into(),
        target: start(&call.target),
        arguments: cut(masked(&call.arguments), MAX_SHOWN_ARGUMENT_BYTES),
        at: call.asked_us.and_then(at),
        duration_ms: duration_us.map(|us| us as f64 / 1_000.0),
        http: call.http.map(|http| {
            let HttpSeen { method, url, host, status, request_bytes, response_bytes } = http;
            let (url, host) = (start(&url), start(&host));
            HttpCall { method, url, host, status, request_bytes, response_bytes }
        }),
        error: call.error.map(|error| cut(masked(&error), MAX_SHOWN_ARGUMENT_BYTES)),
        is_unanswered: call.is_unanswered,
        run_ids: call.runs,
        token_id: call.token,
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('…');
    }
    text
}

/// The context as JSON, with names as everywhere in the API. What has no record of its own stands where its name says.
fn shown(context: &Context) -> Value {
    let entries = context.extra.clone();
    // Texts, numbers and lists of them.
    let value = serde_json::to_value(context).unwrap_or_default();
    let Value::Object(mut shown) = in_camel_case(value) else { return Value::Null };
    shown.remove("extra");
    for Entry { name, value } in entries {
        let Ok(value) = serde_json::from_str::<Value>(&value) else { continue };
        match name.split_once('.') {
            Some((record, field)) => {
                let record = shown.entry(record).or_insert_with(|| Map::new().into());
                if let Value::Object(record) = record {
                    record.insert(field.into(), value);
                }
            }
            None => drop(shown.insert(name, value)),
        }
    }
    shown.into()
}

/// `started_at` is `startedAt`, at every depth; what has no value is left out.
fn in_camel_case(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, member)| !member.is_null());
            members.map(|(name, member)| (camel_case(&name), in_camel_case(member))).collect()
        }
        Value::Array(elements) => elements.into_iter().map(in_camel_case).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        camel.push_str(&first.to_uppercase());
        camel.push_str(rest);
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_the_api() {
        let value = json!({ "run": { "is_test": true, "batch": null }, "ref_": 1, "a_b_c": [{ "x_y": 1 }] });
        assert_eq!(in_camel_case(value), json!({ "run": { "isTest": true }, "ref": 1, "aBC": [{ "xY": 1 }] }));
    }

    #[test]
    fn long_arguments_are_cut_where_a_character_ends() {
        let text = "ä".repeat(MAX_SHOWN_ARGUMENT_BYTES);
        let cut = cut(text, MAX_SHOWN_ARGUMENT_BYTES);
        assert!(cut.len() <= MAX_SHOWN_ARGUMENT_BYTES + '…'.len_utf8() && cut.ends_with("ä…"));
    }
}
