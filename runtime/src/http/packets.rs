//! Large payloads: links, and what is behind them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::auth::Caller;
use super::body::{Params, Raw, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use super::{Server, origin};
use crate::api::{DownloadLink, STORED_PACKET, UploadLink};
use crate::model::Timestamp;
use crate::model::id::{EnvironmentId, RunId};
use crate::model::run::{Packet, PacketFormat};
use crate::packets::{Link, LinkUse, PacketError};

/// In a query, when a link expires: milliseconds since 1970.
const EXPIRES: &str = "expires";
/// In a query, the signature of a link.
const SIGNATURE: &str = "signature";

impl From<PacketError> for ApiError {
    fn from(error: PacketError) -> Self {
        let text = error.to_string();
        match error {
            PacketError::BadPath | PacketError::NotText => Self::bad_request(text),
            PacketError::NoSuchPacket(_) => Self::not_found(text),
            PacketError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_packets", text),
            PacketError::Storage(error) => error.into(),
        }
    }
}

/// A link to upload a large payload to, and what to call it in the trigger.
#[utoipa::path(
    put, path = "/api/v2/packets/{path}", tag = "Payloads",
    responses((status = 200, body = UploadLink, description = "The link; it expires"), ChangeErrors),
)]
pub(super) async fn upload_link(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(path): Segments<String>,
    headers: HeaderMap,
) -> Result<Json<UploadLink>> {
    let presigned_url = presigned(&server, LinkUse::Upload, caller.environment.id, &path, &headers)?;
    json(UploadLink { presigned_url, storage_path: path })
}

/// A link to download an uploaded payload from.
#[utoipa::path(
    get, path = "/api/v1/packets/{path}", tag = "Payloads",
    responses((status = 200, body = DownloadLink, description = "The link; it expires"), ReadErrors),
)]
pub(super) async fn download_link(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(path): Segments<String>,
    headers: HeaderMap,
) -> Result<Json<DownloadLink>> {
    server.packets.find(caller.environment.id, &path).await?;
    let presigned_url = presigned(&server, LinkUse::Download, caller.environment.id, &path, &headers)?;
    json(DownloadLink { presigned_url })
}

/// A link to the payload or output of a run. Runs have both whole, so that there never is one: the answer is 404.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/packets/{field}", tag = "Payloads",
    responses((status = 200, body = DownloadLink, description = "Never"), ReadErrors),
)]
pub(super) async fn of_run(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments((run, field)): Segments<(String, String)>,
) -> Result<Json<DownloadLink>> {
    let not_found = || ApiError::not_found("Run not found");
    let id: RunId = run.parse().map_err(|_| not_found())?;
    server.storage.run(caller.environment.id, id).await?.ok_or_else(not_found)?;
    match field.as_str() {
        "payload" | "output" => Err(ApiError::not_found(format!("the {field} is not offloaded: retrieve the run"))),
        _ => Err(ApiError::not_found("a run has a `payload` and an `output`")),
    }
}

/// Takes a payload from whoever has a link.
#[utoipa::path(
    put, path = "/api/v1/objects/{environment}/{object}", tag = "Payloads",
    security(()),
    params(
        ("expires" = Option<String>, Query, description = "From the link"),
        ("signature" = Option<String>, Query, description = "From the link"),
    ),
    request_body(content = String, content_type = "application/json",
        description = "The payload, in the encoding of its content type: also `application/super+json` and `text/plain`"),
    responses((status = 204, description = "It is stored"), ChangeErrors),
)]
pub(super) async fn upload(
    State(server): State<Arc<Server>>,
    Segments(named): Segments<(String, String)>,
    params: Params,
    request: Request,
) -> Result<StatusCode> {
    // Whoever has no good link is answered before their bytes are read.
    let link = good_link(&server, LinkUse::Upload, named, &params)?;
    let format = format_of(request.headers())?;
    let Raw(bytes) = Raw::from_request(request, &()).await?;
    server.packets.store(link.environment, link.path, format, bytes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a payload to whoever has a link.
#[utoipa::path(
    get, path = "/api/v1/objects/{environment}/{object}", tag = "Payloads",
    security(()),
    params(
        ("expires" = Option<String>, Query, description = "From the link"),
        ("signature" = Option<String>, Query, description = "From the link"),
    ),
    responses(
        (status = 200, description = "The payload, with its content type", content(
            (Value = "application/json"),
            (Value = "application/super+json"),
            (String = "text/plain"),
        )),
        ReadErrors,
    ),
)]
pub(super) async fn download(
    State(server): State<Arc<Server>>,
    Segments(named): Segments<(String, String)>,
    params: Params,
) -> Result<Response> {
    let link = good_link(&server, LinkUse::Download, named, &params)?;
    let packet = server.packets.find(link.environment, &link.path).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(packet.format.as_str())),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, packet.data.unwrap_or_default()).into_response())
}

/// The uploaded payload that a request names, where it names one.
pub(super) async fn stored(
    server: &Server,
    environment: EnvironmentId,
    payload: Option<&RawValue>,
    payload_type: Option<&str>,
) -> Result<Option<Packet>> {
    if payload_type != Some(STORED_PACKET) {
        return Ok(None);
    }
    let path = payload.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let path = path.ok_or_else(|| {
        ApiError::bad_request("with `payloadType` application/store, `payload` must be the path of an uploaded packet")
    })?;
    match server.packets.find(environment, &path).await {
        Ok(packet) => Ok(Some(packet)),
        Err(error @ (PacketError::NoSuchPacket(_) | PacketError::BadPath)) => {
            Err(ApiError::unprocessable(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A link that points back at this server, by the name under which the caller knows it.
fn presigned(
    server: &Server,
    usage: LinkUse,
    environment: EnvironmentId,
    path: &str,
    headers: &HeaderMap,
) -> Result<String> {
    let origin = origin::of(headers)?;
    let (link, signature) = server.packets.link(usage, environment, path.to_owned())?;
    let object = data_encoding::BASE64URL_NOPAD.encode(link.path.as_bytes());
    let expires = link.expires_at.as_millisecond();
    Ok(format!("{origin}/api/v1/objects/{environment}/{object}?{EXPIRES}={expires}&{SIGNATURE}={signature}"))
}

/// The link by which a request came, if it is good for this.
fn good_link(server: &Server, usage: LinkUse, named: (String, String), params: &Params) -> Result<Link> {
    let (environment, object) = named;
    let link = || {
        let path = data_encoding::BASE64URL_NOPAD.decode(object.as_bytes()).ok()?;
        let expires: i64 = params.get(EXPIRES)?.parse().ok()?;
        Some(Link {
            usage,
            environment: environment.parse().ok()?,
            path: String::from_utf8(path).ok()?,
            expires_at: Timestamp::from_millisecond(expires).ok()?,
        })
    };
    let signature = params.get(SIGNATURE).unwrap_or_default();
    link()
        .filter(|link| server.packets.is_good(link, signature))
        .ok_or_else(|| ApiError::forbidden("the link is not good for this, or not any more: ask for another"))
}

fn format_of(headers: &HeaderMap) -> Result<PacketFormat> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    PacketFormat::parse(&essence).ok_or_else(|| {
        let text = "the content type must be one of application/json, application/super+json, text/plain";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text)
    })
}
