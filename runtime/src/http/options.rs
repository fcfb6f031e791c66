//! Turns the options of a request into what the domain understands.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{ApiError, Result};
use crate::api::{
    self, DebounceOption, IdempotencyKeyOptions, ReplayRequest, TriggerOptions, TriggerRequest, TtlOption,
};
use crate::model::admission::{Delay, Overrides, Request};
use crate::model::id::RunId;
use crate::model::run::{Debounce, IdempotencyKey, Packet, PacketFormat, later};
use crate::model::task::Machine;
use crate::model::{Timestamp, duration, limits};

/// The request to run `task` that a body makes; `stored` is the uploaded payload that it names. The
/// version it names is returned beside it.
pub(super) fn request(
    task: String,
    body: TriggerRequest,
    stored: Option<Packet>,
    now: Timestamp,
) -> Result<(Request, Option<String>)> {
    let options = body.options;
    refuse_what_is_not_offered(&options)?;
    let payload = match stored {
        Some(stored) => stored,
        None => payload(body.payload, options.payload_type.as_deref())?,
    };
    let mut request = Request::new(task, payload);
    request.queue = options.queue.map(|queue| queue.name);
    request.concurrency_key = options.concurrency_key.map(concurrency_key).transpose()?;
    request.delay = options.delay.as_deref().map(delay).transpose()?;
    request.ttl = options.ttl.map(ttl).transpose()?;
    request.priority_seconds = options.priority.unwrap_or(0.0);
    request.tags = options.tags.map(|tags| tags.into_list()).unwrap_or_default();
    request.metadata = options.metadata.map(metadata).transpose()?;
    request.max_attempts = options.max_attempts;
    request.max_duration_seconds = options.max_duration.map(max_duration).transpose()?;
    request.machine = options.machine.as_deref().map(machine).transpose()?;
    request.is_test = options.test.unwrap_or(false);
    request.external_deployment = options.external_deployment_id;
    request.debounce = options.debounce.map(debounce).transpose()?;
    request.origin.parent = options.parent_run_id.as_deref().map(parent).transpose()?;
    request.idempotency = options
        .idempotency_key
        .map(|key| idempotency(key, options.idempotency_key_ttl.as_deref(), options.idempotency_key_options, now))
        .transpose()?;
    Ok((request, options.lock_to_version))
}

/// A run without one of these would not be the run that was asked for.
fn refuse_what_is_not_offered(options: &TriggerOptions) -> Result<()> {
    let means_something =
        |option: &Option<Value>| option.as_ref().is_some_and(|value| *value != Value::Array(Vec::new()));
    let not_offered =
        [("concurrency", means_something(&options.concurrency)), ("gates", means_something(&options.gates))];
    match not_offered.into_iter().find(|(_, is_asked_for)| *is_asked_for) {
        Some((name, _)) => Err(ApiError::unprocessable(format!("{name} is not offered yet: leave it out"))),
        None => Ok(()),
    }
}

/// What the body of a replay changes; the version it names is returned beside it.
pub(super) fn overrides(body: ReplayRequest, now: Timestamp) -> Result<(Overrides, Option<String>)> {
    let key_ttl = body.idempotency_key_ttl;
    let overrides = Overrides {
        payload: body.payload.map(|raw| payload(Some(raw), body.payload_type.as_deref())).transpose()?,
        metadata: body.metadata.map(metadata).transpose()?,
        tags: body.tags.map(|tags| tags.into_list()),
        queue: body.queue,
        concurrency_key: body.concurrency_key.map(concurrency_key).transpose()?,
        priority_seconds: body.priority,
        delay: body.delay.as_deref().map(delay).transpose()?,
        ttl: body.ttl.map(ttl).transpose()?,
        idempotency: body.idempotency_key.map(|key| idempotency(key, key_ttl.as_deref(), None, now)).transpose()?,
        request_key: None,
        max_attempts: body.max_attempts,
        max_duration_seconds: body.max_duration.map(max_duration).transpose()?,
        machine: body.machine.as_deref().map(machine).transpose()?,
        locked: None,
        one_time_token: None,
    };
    Ok((overrides, body.version))
}

/// With a type, the payload is text of that type; without, it is itself the JSON.
fn payload(raw: Option<Box<RawValue>>, format: Option<&str>) -> Result<Packet> {
    let Some(format) = format else {
        return Ok(Packet { data: raw.map(|raw| raw.get().to_owned()), format: PacketFormat::Json });
    };
    let format = PacketFormat::parse(format).ok_or_else(|| {
        let known = "application/json, application/super+json, text/plain";
        ApiError::bad_request(format!("`payloadType` must be one of {known}"))
    })?;
    let text = |raw: Box<RawValue>| {
        let not_text = "with `payloadType`, `payload` must be a string that holds the encoded payload";
        serde_json::from_str::<String>(raw.get()).map_err(|_| ApiError::bad_request(not_text))
    };
    Ok(Packet { data: raw.map(text).transpose()?, format })
}

fn debounce(option: DebounceOption) -> Result<Debounce> {
    let length = |name: &str, text: &str| {
        duration::parse(text).map_err(|error| ApiError::unprocessable(format!("debounce.{name}: {error}")))
    };
    let trailing = match option.mode.as_deref() {
        None | Some("leading") => false,
        Some("trailing") => true,
        Some(_) => return Err(ApiError::unprocessable("debounce.mode must be leading or trailing")),
    };
    Ok(Debounce {
        delay: length("delay", &option.delay)?,
        max_delay: option.max_delay.as_deref().map(|text| length("maxDelay", text)).transpose()?,
        key: option.key,
        trailing,
    })
}

fn parent(run: &str) -> Result<RunId> {
    run.parse().map_err(|_| ApiError::bad_request("`parentRunId` is not the id of a run"))
}

fn concurrency_key(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(ApiError::bad_request("`concurrencyKey` must be a string or a number")),
    }
}

pub(super) fn delay(text: &str) -> Result<Delay> {
    if let Ok(length) = duration::parse(text) {
        return Ok(Delay::For(length));
    }
    let at = moment(text).ok_or_else(|| {
        ApiError::bad_request("`delay` must be a duration such as `10m`, or a date such as `2026-11-21T12:00:00Z`")
    })?;
    Ok(Delay::Until(Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)))
}

/// A date that names no zone is in UTC, and begins at midnight where it names no time.
fn moment(text: &str) -> Option<Timestamp> {
    let in_utc = || {
        // Where one names a zone, only the whole counts.
        let date: jiff::civil::DateTime = text.parse().ok().filter(|_| !text.contains('['))?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(in_utc)
}

fn ttl(option: TtlOption) -> Result<Duration> {
    match option {
        TtlOption::Seconds(seconds) => Ok(Duration::from_secs(seconds)),
        TtlOption::Duration(text) => {
            duration::parse(&text).map_err(|error| ApiError::bad_request(format!("`ttl`: {error}")))
        }
    }
}

fn metadata(value: Value) -> Result<String> {
    let Value::Object(object) = &value else {
        return Err(ApiError::bad_request("`metadata` must be an object"));
    };
    api::check_levels(object).map_err(|error| ApiError::unprocessable(error.to_string()))?;
    Ok(value.to_string())
}

fn max_duration(seconds: f64) -> Result<u32> {
    if seconds.is_finite() && seconds > 0.0 && seconds <= f64::from(*limits::MAX_DURATION_SECONDS.end()) {
        return Ok(seconds.ceil() as u32);
    }
    Err(ApiError::unprocessable("maxDuration must be 1 to 86400 seconds"))
}

fn machine(name: &str) -> Result<Machine> {
    name.parse().map_err(|error| ApiError::bad_request(format!("`machine`: {error}")))
}

fn idempotency(
    key: String,
    ttl: Option<&str>,
    shown: Option<IdempotencyKeyOptions>,
    now: Timestamp,
) -> Result<IdempotencyKey> {
    let bad = |error| ApiError::bad_request(format!("`idempotencyKeyTTL`: {error}"));
    let ttl = ttl.map(duration::parse).transpose().map_err(bad)?.unwrap_or(limits::DEFAULT_IDEMPOTENCY_KEY_TTL);
    let (shown, scope) = shown.map(|shown| (shown.key, shown.scope)).unzip();
    Ok(IdempotencyKey { key, shown, scope, expires_at: later(now, ttl) })
}
