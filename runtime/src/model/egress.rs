//! Which hosts the tasks of an environment may talk to.
//!
//! A list of rules, each of which allows something; nothing else is allowed. A request must pass
//! twice: its host by name, then every address that the name resolves to.
//!
//! | rule | allows |
//! |---|---|
//! | `*` | every name; public addresses only |
//! | `api.example.com`, `*.example.com` | that name, or every name below it; public addresses only |
//! | `10.0.0.5`, `10.0.0.0/8`, `::1` | these addresses, also private ones |
//! | any of them with `:port` | the same on that port only; IPv6 in brackets: `[::1]:8080` |
//!
//! A service on a private address therefore needs two rules, one for its name and one for its
//! address. A rule for a name never opens private networks, so that whoever controls a name's DNS
//! cannot point it at the inside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The rules of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPolicy {
    rules: Vec<Rule>,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    AnyName,
    Name(String),
    NamesBelow(String),
    Network { address: IpAddr, prefix_bits: u8 },
}

/// Text that is not a rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not an egress rule: write a name, `*.name`, `*`, an address or a network such as `10.0.0.0/8`, with or without `:port`"
)]
pub struct BadRule(String);

/// Why a request may not leave, in the author's terms.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Blocked {
    /// No rule allows the name or address in the URL.
    #[error("`{host}:{port}` is not in the environment's egress list")]
    Host {
        /// As in the URL.
        host: String,
        /// As in the URL, or the scheme's.
        port: u16,
    },
    /// The name is allowed, but not where it leads.
    #[error("`{host}` resolves to {address}, which is not public and not in the environment's egress list")]
    Address {
        /// As in the URL.
        host: String,
        /// What it resolves to.
        address: IpAddr,
    },
}

impl Default for EgressPolicy {
    /// Every public host.
    fn default() -> Self {
        Self { rules: vec![Rule { target: Target::AnyName, port: None }] }
    }
}

impl EgressPolicy {
    /// A policy of these rules; an empty list allows nothing.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules as text.
    pub fn rules(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(ToString::to_string)
    }

    /// Whether a URL with this host may be requested at all. `host` is a name or an address,
    /// without brackets.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), Blocked> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let listed = self.allows_address(address, port);
            let public =
                is_public(address) && self.rules.iter().any(|rule| rule.target == Target::AnyName && rule.on(port));
            return if listed || public { Ok(()) } else { Err(Blocked::Host { host: host.into(), port }) };
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if self.rules.iter().any(|rule| rule.on(port) && rule.target.names(&name)) {
            return Ok(());
        }
        Err(Blocked::Host { host: host.into(), port })
    }

    /// Whether a name that passed [`Self::check_host`] may be reached at `address`.
    pub fn check_address(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Blocked> {
        if is_public(address) || self.allows_address(address, port) {
            return Ok(());
        }
        Err(Blocked::Address { host: host.into(), address })
    }

    fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.on(port) && rule.target.contains(address))
    }
}

impl Rule {
    fn on(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl Target {
    fn names(&self, name: &str) -> bool {
        match self {
            Self::AnyName => true,
            Self::Name(own) => own == name,
            Self::NamesBelow(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.')),
            Self::Network { .. } => false,
        }
    }

    fn contains(&self, candidate: IpAddr) -> bool {
        let Self::Network { address, prefix_bits } = self else {
            return false;
        };
        match (unmapped(*address), unmapped(candidate)) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_prefix(u128::from(u32::from(own)) << 96, u128::from(u32::from(other)) << 96, *prefix_bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same_prefix(own.into(), other.into(), *prefix_bits),
            _ => false,
        }
    }
}

fn same_prefix(own: u128, other: u128, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    own & mask == other & mask
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether an address belongs to the public internet: what IANA's special-purpose registries
/// (RFC 6890 and its updates) do not mark as something else.
pub fn is_public(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is global unicast; within it, leave out what tunnels, documents or tests.
    // 64:ff9b::/96 and 2002::/16 carry IPv4 addresses, also private ones.
    (first & 0xe000) == 0x2000
        && first != 0x2002
        && !(first == 0x2001 && second < 0x0200)
        && !(first == 0x2001 && second == 0x0db8)
        && !(first == 0x3fff && second < 0x1000)
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        parse_rule(text).ok_or_else(|| BadRule(text.chars().take(100).collect()))
    }
}

fn parse_rule(text: &str) -> Option<Rule> {
    if let Some(network) = parse_network(text) {
        return Some(Rule { target: network, port: None });
    }
    if let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some(Rule { target: parse_network(inside)?, port });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let target = match parse_network(host) {
        Some(network) => network,
        None if host == "*" => Target::AnyName,
        None => match host.strip_prefix("*.") {
            Some(suffix) => Target::NamesBelow(parse_name(suffix)?),
            None => Target::Name(parse_name(host)?),
        },
    };
    Some(Rule { target, port })
}

fn parse_network(text: &str) -> Option<Target> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some(Target::Network { address, prefix_bits })
}

fn parse_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (text.len() <= 253 && !numeric && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.port) {
            (Target::Network { address: IpAddr::V6(_), .. }, Some(port)) => write!(f, "[{}]:{port}", self.target),
            (target, Some(port)) => write!(f, "{target}:{port}"),
            (target, None) => write!(f, "{target}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyName => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::NamesBelow(suffix) => write!(f, "*.{suffix}"),
            Self::Network { address, prefix_bits } => {
                let whole = if address.is_ipv4() { 32 } else { 128 };
                if *prefix_bits == whole { write!(f, "{address}") } else { write!(f, "{address}/{prefix_bits}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> EgressPolicy {
        EgressPolicy::new(rules.iter().map(|rule| rule.parse().expect("a rule")).collect())
    }

    #[track_caller]
    fn check(rules: &[&str], host: &str, port: u16, address: &str, expected: bool) {
        let policy = policy(rules);
        let address = address.parse().expect("an address");
        let allowed = policy.check_host(host, port).and_then(|()| policy.check_address(host, address, port));
        assert_eq!(allowed.is_ok(), expected, "{rules:?} {host}:{port} at {address}: {allowed:?}");
    }

    #[test]
    fn the_default_is_every_public_host() {
        check(&["*"], "example.com", 443, "93.184.215.14", true);
        check(&["*"], "example.com", 443, "10.0.0.1", false);
        check(&["*"], "localhost", 80, "127.0.0.1", false);
        check(&["*"], "127.0.0.1", 80, "127.0.0.1", false);
        check(&["*"], "8.8.8.8", 53, "8.8.8.8", true);
        check(&[], "example.com", 443, "93.184.215.14", false);
    }

    #[test]
    fn names_match_whole_labels() {
        check(&["*.example.com"], "api.example.com", 443, "93.184.215.14", true);
        check(&["*.example.com"], "a.b.EXAMPLE.com.", 443, "93.184.215.14", true);
        check(&["*.example.com"], "example.com", 443, "93.184.215.14", false);
        check(&["*.example.com"], "badexample.com", 443, "93.184.215.14", false);
        check(&["example.com"], "example.com", 443, "93.184.215.14", true);
        check(&["example.com"], "www.example.com", 443, "93.184.215.14", false);
    }

    #[test]
    fn private_networks_open_only_to_rules_for_addresses() {
        check(&["db.internal"], "db.internal", 80, "10.0.0.5", false);
        check(&["db.internal", "10.0.0.0/8"], "db.internal", 80, "10.0.0.5", true);
        check(&["127.0.0.1:8080"], "127.0.0.1", 8080, "127.0.0.1", true);
        check(&["127.0.0.1:8080"], "127.0.0.1", 8081, "127.0.0.1", false);
        check(&["[::1]:8080"], "::1", 8080, "::1", true);
        check(&["127.0.0.0/8"], "::ffff:127.0.0.1", 80, "::ffff:127.0.0.1", true);
        check(&["*"], "::ffff:10.0.0.1", 80, "::ffff:10.0.0.1", false);
        check(&["0.0.0.0/0"], "10.9.8.7", 80, "10.9.8.7", true);
    }

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.1.1",
            "100.64.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn rules_survive_a_round_trip_through_text() {
        for text in [
            "*",
            "*:443",
            "example.com",
            "*.example.com:8443",
            "10.0.0.0/8",
            "10.1.2.3:80",
            "::1",
            "[::1]:80",
            "[fd00::/8]:80",
        ] {
            assert_eq!(text.parse::<Rule>().expect("a rule").to_string(), text);
        }
        for text in ["", "a b", "*x", "10.0.0.0/33", "1.2.3", "example.com:x", "[::1", "-:", "http://a"] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
