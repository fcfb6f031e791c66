//! The name under which a caller knows this server.

use axum::http::{HeaderMap, HeaderName, header};

use super::error::{ApiError, Result};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The scheme and the host of addresses that point back at this server, as a caller can use them.
pub(super) fn of(headers: &HeaderMap) -> Result<String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| ApiError::bad_request("the header `host` is missing"))?;
    // Of several proxies, the first is the one that the caller speaks to.
    let forwarded = headers.get(FORWARDED_PROTO).and_then(|proto| proto.to_str().ok()).unwrap_or_default();
    let first = forwarded.split(',').next().unwrap_or_default().trim();
    let scheme = if first.eq_ignore_ascii_case("https") { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}
