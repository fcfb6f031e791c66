//! Takes a URL apart, as far as WASI wants it.

use super::HttpError;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) is_https: bool,
    pub(super) authority: String,
    /// Begins with `/`; holds visible ASCII only.
    pub(super) path_with_query: String,
}

impl Url {
    pub(super) fn parse(url: &str) -> Result<Self, HttpError> {
        let invalid = |reason: &str| HttpError::InvalidRequest(format!("{reason} in the URL {url:?}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("no scheme"))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(invalid("neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(invalid("no host"));
        }
        if authority.contains('@') {
            return Err(HttpError::InvalidRequest("credentials in the URL: use the header `authorization`".into()));
        }
        if !authority.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("a space or a non-ASCII letter in the host"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { is_https, authority: authority.to_owned(), path_with_query: format!("{slash}{}", encode(path)) })
    }
}

/// Percent-encodes what may not stand in a URL at all; what is encoded already stays.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            byte if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: (bool, &str, &str)) {
        let url = Url::parse(url).expect("the URL is valid");
        assert_eq!((url.is_https, url.authority.as_str(), url.path_with_query.as_str()), expected);
    }

    #[test]
    fn a_url_is_taken_apart() {
        check("http://example.com", (false, "example.com", "/"));
        check("HTTPS://example.com:8443/a/b?c=d#e", (true, "example.com:8443", "/a/b?c=d"));
        check("http://[::1]:80?q", (false, "[::1]:80", "/?q"));
        check("http://a/grün und %20?x={1}", (false, "a", "/gr%C3%BCn%20und%20%20?x=%7B1%7D"));
    }

    #[test]
    fn a_url_that_cannot_be_asked_for_is_refused() {
        for url in ["", "example.com", "ftp://a/", "http:///a", "http://u:p@a/", "http://ä/", "http://a b/"] {
            let error = Url::parse(url).expect_err(url);
            assert!(matches!(error, HttpError::InvalidRequest(_)), "{url}");
        }
    }
}
