//! Public access tokens as a client would make them, and as an attacker would.

use dacapo::model::digest::Digest;
use serde_json::{Value, json};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// The claims of a good token, 15 minutes long from `now_ms`.
pub fn claims(environment: &Value, scopes: &[&str], now_ms: i64) -> Value {
    json!({
        "sub": environment,
        "pub": true,
        "scopes": scopes,
        "iss": "https://id.trigger.dev",
        "aud": "https://api.trigger.dev",
        "iat": now_ms / 1_000,
        "exp": now_ms / 1_000 + 900,
    })
}

/// A token of these claims, signed with `key` as the client does it.
pub fn sign(key: &str, claims: &Value) -> String {
    sign_as(&json!({ "alg": "HS256" }), key, claims)
}

/// A token with this head, whatever it says, and a signature of HS256.
pub fn sign_as(head: &Value, key: &str, claims: &Value) -> String {
    let text = format!("{}.{}", base64url(head.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = hmac(key.as_bytes(), text.as_bytes());
    format!("{text}.{}", base64url(&signature))
}

/// What a token claims.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&decode(payload)).expect("claims are JSON")
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    assert!(key.len() <= BLOCK, "keys are shorter than a block");
    let pad = |with: u8| (0..BLOCK).map(move |at| key.get(at).copied().unwrap_or(0) ^ with);
    let inner: Vec<u8> = pad(0x36).chain(message.iter().copied()).collect();
    let outer: Vec<u8> = pad(0x5c).chain(Digest::of(&inner).0).collect();
    Digest::of(&outer).0
}

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..=part.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for char in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == char).expect("base64url") as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn text_survives_a_round_trip() {
    for text in ["", "a", "ab", "abc", "abcd", "{\"sub\":\"ü\"}"] {
        assert_eq!(decode(&base64url(text.as_bytes())), text.as_bytes());
    }
}
