//! Reading packets: what a client encoded, as plain JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::run::{Packet, PacketFormat};

/// A packet that is not what its type says.
#[derive(Debug, thiserror::Error)]
pub enum BadPacket {
    /// The text is not JSON.
    #[error("the payload is not JSON: {0}")]
    Json(serde_json::Error),
    /// The text is JSON, but not superjson's.
    #[error("the payload is not superjson, which is an object with the key `json`: {0}")]
    SuperJson(serde_json::Error),
}

#[derive(Deserialize)]
struct SuperJson<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

/// Whether a JSON text is an array. Ask before you read a struct: serde would take the items for
/// its fields in their order.
pub fn is_array(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'[')
}

/// The plain JSON text of a packet: what a guest is given and what the API shows. Nothing sent is
/// `null`; of superjson it is the part under `json`, in which dates are ISO strings.
pub fn plain_json(packet: &Packet) -> Result<String, BadPacket> {
    let Some(data) = &packet.data else { return Ok("null".into()) };
    match packet.format {
        PacketFormat::Json => {
            serde_json::from_str::<&RawValue>(data).map(|json| json.get().into()).map_err(BadPacket::Json)
        }
        PacketFormat::SuperJson if is_array(data.as_bytes()) => {
            Err(BadPacket::SuperJson(serde::de::Error::custom("not an object")))
        }
        PacketFormat::SuperJson => serde_json::from_str::<SuperJson<'_>>(data)
            .map(|outer| outer.json.map_or_else(|| "null".into(), |json| json.get().into()))
            .map_err(BadPacket::SuperJson),
        PacketFormat::Text => Ok(serde_json::Value::from(data.as_str()).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: PacketFormat, data: Option<&str>, expected: &str) {
        let packet = Packet { data: data.map(Into::into), format };
        let plain = plain_json(&packet).unwrap_or_else(|error| error.to_string());
        assert!(plain.starts_with(expected), "{plain}");
    }

    #[test]
    fn every_format_becomes_plain_json() {
        check(PacketFormat::Json, None, "null");
        check(PacketFormat::Json, Some(r#"{"a": 1}"#), r#"{"a": 1}"#);
        check(PacketFormat::Text, Some("a\"b"), r#""a\"b""#);
        let dated = r#"{"json":{"d":"1970-01-01T00:00:00.000Z"},"meta":{"values":{"d":["Date"]}}}"#;
        check(PacketFormat::SuperJson, Some(dated), r#"{"d":"1970-01-01T00:00:00.000Z"}"#);
        check(PacketFormat::SuperJson, Some("{}"), "null");
        check(PacketFormat::SuperJson, Some(r#"{"json":null}"#), "null");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        check(PacketFormat::Json, Some("{"), "the payload is not JSON");
        check(PacketFormat::Json, Some(""), "the payload is not JSON");
        for other in ["[1]", " [{}]", "1", "\"{}\"", "null", ""] {
            check(PacketFormat::SuperJson, Some(other), "the payload is not superjson");
        }
    }
}
