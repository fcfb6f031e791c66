//! How often a key may ask, where the operator sets a limit.
//!
//! Every key has a bucket of so many requests as it may send at once, which is filled again with so
//! many a second; the public access tokens of an environment have one together. Only who is let in
//! counts: nobody can use up what belongs to another. Buckets are in memory, and the operator has
//! none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Server;
use super::auth::Holder;
use crate::api::RateProblem;
use crate::config::RateLimit;
use crate::model::limits::MAX_RATE_BUCKETS;

/// The routes that count begin with it.
const COUNTED: &str = "/api/";
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const EXPLAINED: &str = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/429";

/// Counts requests.
pub struct Rates {
    limit: Option<RateLimit>,
    buckets: Mutex<HashMap<Holder, Bucket>>,
}

/// What a key has left.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request.
    left: u64,
    at_ms: i64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    is_within: bool,
    remaining: u32,
    /// When there is one more, in milliseconds since 1970.
    reset_ms: i64,
}

/// A request, in the unit of [`Bucket::left`]. So many milliseconds have a second, so that a bucket
/// of `n` requests a second gets `n` in each.
const ONE: u64 = 1_000;

impl Rates {
    /// Counts requests where there is a limit.
    pub fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Takes a request out of a bucket, if there is one in it.
    fn count(&self, limit: RateLimit, holder: Holder, now: Timestamp) -> Count {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_RATE_BUCKETS && !buckets.contains_key(&holder) {
            // Those that are full are as good as new ones.
            buckets.retain(|_, bucket| !bucket.filled(limit, now).is_full(limit));
            if buckets.len() >= MAX_RATE_BUCKETS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(holder).or_insert_with(|| Bucket::full(limit, now));
        bucket.take(limit, now)
    }
}

impl Bucket {
    fn full(limit: RateLimit, now: Timestamp) -> Self {
        Self { left: u64::from(limit.burst) * ONE, at_ms: now.as_millisecond() }
    }

    fn is_full(self, limit: RateLimit) -> bool {
        self.left >= u64::from(limit.burst) * ONE
    }

    /// The bucket as it is at `now`. A clock that goes back fills nothing.
    fn filled(self, limit: RateLimit, now: Timestamp) -> Self {
        let now_ms = now.as_millisecond();
        let passed_ms = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        let left = self.left.saturating_add(passed_ms.saturating_mul(u64::from(limit.per_second)));
        Self { left: left.min(u64::from(limit.burst) * ONE), at_ms: now_ms }
    }

    fn take(&mut self, limit: RateLimit, now: Timestamp) -> Count {
        *self = self.filled(limit, now);
        let is_within = self.left >= ONE;
        if is_within {
            self.left -= ONE;
        }
        let to_next = (ONE - self.left % ONE).div_ceil(u64::from(limit.per_second));
        Count {
            is_within,
            remaining: u32::try_from(self.left / ONE).unwrap_or(u32::MAX),
            reset_ms: self.at_ms.saturating_add_unsigned(to_next),
        }
    }
}

/// Counts a request, and answers in place of its handler where there have been too many.
pub(super) async fn count(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let Some(limit) = server.rates.limit.filter(|_| request.uri().path().starts_with(COUNTED)) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let holder = server.auth.holder(&parts).await;
    let request = Request::from_parts(parts, body);
    // Who is not let in is told so by the handler.
    let Ok(Some(holder)) = holder else { return next.run(request).await };
    let now = server.clock.now();
    let count = server.rates.count(limit, holder, now);
    let mut response =
        if count.is_within { next.run(request).await } else { refusal(limit, count, now).into_response() };
    let headers = response.headers_mut();
    headers.insert(LIMIT, limit.burst.into());
    headers.insert(REMAINING, count.remaining.into());
    headers.insert(RESET, count.reset_ms.into());
    response
}

fn refusal(limit: RateLimit, count: Count, now: Timestamp) -> impl IntoResponse {
    let wait_ms = count.reset_ms.saturating_sub(now.as_millisecond()).max(1);
    let seconds_until_reset = wait_ms.saturating_add(999) / 1_000;
    let RateLimit { per_second, burst } = limit;
    let detail = format!(
        "this key may send {burst} requests at once and {per_second} a second: try again in {seconds_until_reset} s"
    );
    let problem = RateProblem {
        title: "Rate Limit Exceeded".into(),
        status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
        kind: EXPLAINED.into(),
        error: format!("Rate limit exceeded: {detail}"),
        detail,
        reset: count.reset_ms,
        limit: burst,
        remaining: 0,
        seconds_until_reset,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, PROBLEM);
    headers.insert(header::RETRY_AFTER, seconds_until_reset.into());
    // This answer comes before the layer that lets pages read answers.
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, any);
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(problem)).into_response();
    response.headers_mut().extend(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { per_second: 4, burst: 3 };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[track_caller]
    fn check(bucket: &mut Bucket, at_ms: i64, is_within: bool, remaining: u32, reset_ms: i64) {
        assert_eq!(bucket.take(LIMIT, at(at_ms)), Count { is_within, remaining, reset_ms });
    }

    #[test]
    fn a_bucket_is_filled_with_time() {
        let mut bucket = Bucket::full(LIMIT, at(1_000));
        check(&mut bucket, 1_000, true, 2, 1_250);
        check(&mut bucket, 1_000, true, 1, 1_250);
        check(&mut bucket, 1_000, true, 0, 1_250);
        check(&mut bucket, 1_000, false, 0, 1_250);
        check(&mut bucket, 1_249, false, 0, 1_250);
        check(&mut bucket, 1_250, true, 0, 1_500);
        check(&mut bucket, 1_200, false, 0, 1_450);
        check(&mut bucket, 9_000, true, 2, 9_250);
    }

    #[test]
    fn buckets_are_bounded_and_full_ones_go_first() {
        let rates = Rates::new(Some(LIMIT));
        let key = |number: usize| Holder::Key(crate::secrets::hash(&number.to_string()));
        for _ in 0..4 {
            rates.count(LIMIT, key(0), at(900));
        }
        for number in 1..MAX_RATE_BUCKETS {
            rates.count(LIMIT, key(number), at(500));
        }
        let count = rates.count(LIMIT, key(MAX_RATE_BUCKETS), at(1_000));
        assert!(count.is_within && rates.buckets.lock().unwrap().len() == 2);
        assert!(!rates.count(LIMIT, key(0), at(1_000)).is_within, "what is used up stays so");
    }
}
