//! Addresses of servers: parsed strictly, compared by origin, printed without what may be secret.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How to speak to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What credentials are bound to: scheme, host and port. Prints as `https://host` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Lower-case name, or an address (of IP version 6 in brackets).
    pub host: String,
    /// Port, also where it is the scheme's own.
    pub port: u16,
}

impl Origin {
    /// Parses `host` or `host:port`, as registries are named.
    pub fn of_authority(scheme: Scheme, authority: &str) -> Result<Self, UrlError> {
        let invalid = || UrlError::Authority(shown(authority));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                // `parse` alone would also take a sign.
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                (host, digits.then(|| port.parse().ok()).flatten().ok_or_else(invalid)?)
            }
            _ => (authority, scheme.default_port()),
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = if let Some(address) = bracketed {
            address.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            let label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(label)
        };
        if !valid {
            return Err(invalid());
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// Returns the host as an address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether the host is this machine by its name alone, without asking any resolver.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Whether the host is given by an address that means something else on every network.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        match self.address() {
            Some(IpAddr::V4(address)) => address.is_link_local(),
            Some(IpAddr::V6(address)) => {
                address.is_unicast_link_local()
                    || address.to_ipv4_mapped().is_some_and(|address| address.is_link_local())
            }
            None => false,
        }
    }

    /// Returns `host` or `host:port`, as the user would write it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// Whether an address is this machine's own by what it means everywhere, or means another host on every machine: loopback,
/// link-local, or none at all, also as IPv4 inside of IPv6.
///
/// Reference: RFC 6890, "Special-Purpose IP Address Registries".
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    match address {
        // All of 0.0.0.0/8 is "this host on this network".
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.octets()[0] == 0,
        IpAddr::V6(address) => {
            let inside = address.to_ipv4().filter(|_| !address.is_loopback());
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || inside.is_some_and(|inside| is_own(IpAddr::V4(inside)))
        }
    }
}

/// Why a text is no address that stave goes to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http` nor `https`.
    #[error("address `{0}` starts with neither `https://` nor `http://`")]
    Scheme(String),
    /// The host or the port is malformed.
    #[error("`{0}` is not a host or a host and a port")]
    Authority(String),
    /// A user name or a password stands in the address; they belong in the credentials.
    #[error("address has a user name or a password in it")]
    UserInfo,
    /// A character that no address has: a blank, a control character, something that is not ASCII.
    #[error("address has a character that is not allowed in addresses")]
    Character,
    /// Longer than any honest address.
    #[error("address has {0} characters, and at most 16384 are allowed")]
    TooLong(usize),
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// An absolute address. Printed without its query, which often carries a signature.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    /// Path and query, starting with `/`.
    target: String,
}

impl Url {
    /// Returns the address of `target`, a path that starts with `/`, at `origin`.
    #[must_use]
    pub fn new(origin: Origin, target: &str) -> Self {
        debug_assert!(target.starts_with('/'), "a target is absolute");
        Self { origin, target: target.to_owned() }
    }

    /// Returns where the address leads.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the address as it is sent, with everything in it. Not for messages.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    /// Returns path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns its path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the address that `location` means in a response to a request for this one.
    ///
    /// Reference: RFC 3986, section 5.2; a fragment is dropped.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        check_characters(location)?;
        let location = location.split('#').next().unwrap_or_default();
        if let Some(rest) = location.strip_prefix("//") {
            return format!("{}://{rest}", self.origin.scheme.name()).parse();
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            None => self.target.clone(),
            Some(_) if has_scheme(location) => return location.parse(),
            Some(_) => format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)]),
        };
        Ok(Self { origin: self.origin.clone(), target: without_dots(&target) })
    }

    /// Returns this address with `name=value` added to its query, `value` being encoded.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        encode_into(value, &mut self.target);
        self
    }
}

/// Appends `value` percent-encoded: only unreserved characters stay.
pub fn encode_into(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 0xF] {
                out.push(char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase());
            }
        }
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.len() > 16 * 1024 {
        return Err(UrlError::TooLong(text.len()));
    }
    // Backslashes and quotes are no URL characters either, and some parsers take a backslash for a slash.
    if text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte)) {
        Ok(())
    } else {
        Err(UrlError::Character)
    }
}

/// Removes the components `.` and `..` of the path.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        check_characters(text)?;
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme(shown(text)))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(UrlError::Scheme(shown(other))),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { origin: Origin::of_authority(scheme, authority)?, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.target.split_once('?').map_or((self.target.as_str(), ""), |(path, _)| (path, "?..."));
        write!(formatter, "{}{path}{query}", self.origin)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, location: &str) -> String {
        let base: Url = base.parse().expect("the base is valid");
        base.join(location).map_or_else(|error| format!("error: {error}"), |url| url.full())
    }

    #[test]
    fn relative_locations_stay_at_the_origin() {
        let base = "https://a.example:5000/v2/x/blobs/uploads/?a=b";
        assert_eq!(joined(base, "/v2/y?_state=1"), "https://a.example:5000/v2/y?_state=1");
        assert_eq!(joined(base, "id"), "https://a.example:5000/v2/x/blobs/uploads/id");
        assert_eq!(joined(base, "../up"), "https://a.example:5000/v2/x/blobs/up");
        assert_eq!(joined(base, "?c=d"), "https://a.example:5000/v2/x/blobs/uploads/?c=d");
        assert_eq!(joined(base, "//b.example/p#f"), "https://b.example/p");
        assert_eq!(joined(base, "http://b.example/p"), "http://b.example/p");
        assert_eq!(joined(base, "/../../../etc"), "https://a.example:5000/etc");
    }

    #[test]
    fn other_schemes_and_hidden_credentials_are_refused() {
        for location in ["file:///etc/passwd", "javascript:x", "https://u:p@a.example/", "https://", "https://a b/"] {
            assert!(joined("https://a.example/", location).starts_with("error: "), "{location}");
        }
        for text in ["https://a.example:99999/", "https://a.example:+1/", "https://[::1/", "http:/a", "a.example/x"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn printing_hides_the_query() {
        let url: Url = "https://cdn.example/blob?X-Signature=abc&u=1".parse().expect("the address is valid");
        assert_eq!(url.to_string(), "https://cdn.example/blob?...");
        assert!(!format!("{url:?}").contains("abc"));
        assert!(url.full().contains("abc"));
    }

    #[test]
    fn origins_differ_in_scheme_host_or_port() {
        let origin = |text: &str| text.parse::<Url>().expect("the address is valid").origin().clone();
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y"));
        assert_ne!(origin("https://a.example"), origin("http://a.example"));
        assert_ne!(origin("https://a.example"), origin("https://a.example:444"));
        assert_ne!(origin("https://a.example"), origin("https://b.example"));
    }

    #[test]
    fn loopback_is_known_by_its_names() {
        let loopback = |authority| Origin::of_authority(Scheme::Http, authority).expect("valid").is_loopback();
        assert!(loopback("127.0.0.1:5000") && loopback("localhost") && loopback("[::1]:5000") && loopback("127.8.9.1"));
        assert!(!loopback("128.0.0.1") && !loopback("localhost.example") && !loopback("10.0.0.1:80"));
    }

    #[test]
    fn addresses_of_one_network_are_known() {
        let local = |authority| Origin::of_authority(Scheme::Http, authority).expect("valid").is_link_local();
        assert!(local("169.254.169.254") && local("[fe80::1]:80") && local("[::ffff:169.254.169.254]"));
        assert!(!local("169.253.1.1") && !local("127.0.0.1") && !local("[fd00::1]") && !local("metadata.example"));
    }

    #[test]
    fn queries_are_encoded() {
        let url: Url = "https://a.example/token?x=1".parse().expect("the address is valid");
        assert_eq!(
            url.with_query("scope", "repository:a/b:pull,push").full(),
            "https://a.example/token?x=1&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }
}
