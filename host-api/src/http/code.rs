//! How a journal holds the error codes of `wasi:http`.

use serde::{Deserialize, Serialize};
use wasmtime_wasi_http::p2::bindings::http::types::{
    DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload,
};

/// An error code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed(#[serde(with = "Code")] pub(crate) ErrorCode);

/// The same as [`ErrorCode`]. Journals hold the places of these: add to the end only.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ErrorCode")]
enum Code {
    DnsTimeout,
    DnsError(#[serde(with = "Dns")] DnsErrorPayload),
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionWriteTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived(#[serde(with = "TlsAlert")] TlsAlertReceivedPayload),
    HttpRequestDenied,
    HttpRequestLengthRequired,
    HttpRequestBodySize(Option<u64>),
    HttpRequestMethodInvalid,
    HttpRequestUriInvalid,
    HttpRequestUriTooLong,
    HttpRequestHeaderSectionSize(Option<u32>),
    HttpRequestHeaderSize(#[serde(with = "optional_size")] Option<FieldSizePayload>),
    HttpRequestTrailerSectionSize(Option<u32>),
    HttpRequestTrailerSize(#[serde(with = "FieldSize")] FieldSizePayload),
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize(Option<u32>),
    HttpResponseHeaderSize(#[serde(with = "FieldSize")] FieldSizePayload),
    HttpResponseBodySize(Option<u64>),
    HttpResponseTrailerSectionSize(Option<u32>),
    HttpResponseTrailerSize(#[serde(with = "FieldSize")] FieldSizePayload),
    HttpResponseTransferCoding(Option<String>),
    HttpResponseContentCoding(Option<String>),
    HttpResponseTimeout,
    HttpUpgradeFailed,
    HttpProtocolError,
    LoopDetected,
    ConfigurationError,
    InternalError(Option<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DnsErrorPayload")]
struct Dns {
    rcode: Option<String>,
    info_code: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TlsAlertReceivedPayload")]
struct TlsAlert {
    alert_id: Option<u8>,
    alert_message: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FieldSizePayload")]
struct FieldSize {
    field_name: Option<String>,
    field_size: Option<u32>,
}

mod optional_size {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use wasmtime_wasi_http::p2::bindings::http::types::FieldSizePayload;

    use super::FieldSize;

    #[derive(Serialize, Deserialize)]
    struct Owned(#[serde(with = "FieldSize")] FieldSizePayload);

    pub(super) fn serialize<S: Serializer>(size: &Option<FieldSizePayload>, to: S) -> Result<S::Ok, S::Error> {
        size.clone().map(Owned).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<FieldSizePayload>, D::Error> {
        Ok(Option::<Owned>::deserialize(from)?.map(|Owned(size)| size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: ErrorCode) {
        let expected = format!("{code:?}");
        let bytes = postcard::to_stdvec(&Failed(code)).expect("an error code can be written");
        let Failed(code) = postcard::from_bytes(&bytes).expect("it can be read");
        assert_eq!(format!("{code:?}"), expected);
    }

    #[test]
    fn error_codes_come_back_as_they_were() {
        let size = FieldSizePayload { field_name: Some("a".into()), field_size: None };
        check(ErrorCode::DnsTimeout);
        check(ErrorCode::DnsError(DnsErrorPayload { rcode: Some("no".into()), info_code: Some(7) }));
        check(ErrorCode::HttpRequestHeaderSize(Some(size.clone())));
        check(ErrorCode::HttpRequestHeaderSize(None));
        check(ErrorCode::HttpResponseTrailerSize(size));
        check(ErrorCode::InternalError(Some("why".into())));
    }
}
