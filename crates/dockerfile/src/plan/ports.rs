//! The ports of `EXPOSE`.
//!
//! A host's address and port in front (`127.0.0.1:8080:80`) are accepted and mean nothing, as in Docker.

use std::net::IpAddr;

/// What is wrong with a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    /// Nothing stands where the port should be.
    #[error("the port is missing")]
    Missing,
    /// No number from 0 to 65535.
    #[error("`{0}` is not a number from 0 to 65535")]
    Number(String),
    /// The first port of a range is larger than the last.
    #[error("the range ends before it starts")]
    Backward,
    /// A protocol that has no ports.
    #[error("`{0}` is none of `tcp`, `udp` and `sctp`")]
    Protocol(String),
    /// What stands in front of the host's port is no address.
    #[error("`{0}` is no IP address")]
    Address(String),
    /// The host's range and the container's have different lengths.
    #[error("the two ranges do not have the same length")]
    Lengths,
}

/// Returns the ports that a word of `EXPOSE` means, each as `80/tcp`.
pub(super) fn parse(word: &str) -> Result<Vec<String>, PortError> {
    let (host, container) = word.rsplit_once(':').map_or((None, word), |(host, port)| (Some(host), port));
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortError::Protocol(protocol.to_owned())),
    };
    let (first, last) = range(ports)?;
    if let Some(host) = host {
        check_host(host, last - first)?;
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Result<(u16, u16), PortError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(PortError::Backward) } else { Ok((first, last)) }
}

fn number(text: &str) -> Result<u16, PortError> {
    if text.is_empty() {
        return Err(PortError::Missing);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| PortError::Number(text.to_owned()))
}

/// Checks `port`, `address:port` or `address:`; `length` is that of the container's range.
fn check_host(host: &str, length: u16) -> Result<(), PortError> {
    let (address, ports) = host.rsplit_once(':').map_or((None, host), |(address, ports)| (Some(address), ports));
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        bare.parse::<IpAddr>().map_err(|_| PortError::Address(address.to_owned()))?;
    }
    if ports.is_empty() {
        return Ok(());
    }
    let (first, last) = range(ports)?;
    if length != 0 && last - first != length { Err(PortError::Lengths) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(word: &str) -> String {
        parse(word).map_or_else(|error| format!("error: {error}"), |ports| ports.join(" "))
    }

    /// T174.
    #[test]
    fn ports_and_ranges_are_numbers_with_a_protocol() {
        assert_eq!(ports("80"), "80/tcp");
        assert_eq!(ports("80-82/tcp"), "80/tcp 81/tcp 82/tcp");
        assert_eq!(ports("53/udp"), "53/udp");
        assert_eq!(ports("80/TCP"), "80/tcp");
        assert_eq!(ports("9/sctp"), "9/sctp");
        assert_eq!(ports("8080:80"), "80/tcp");
        assert_eq!(ports("127.0.0.1:8080:80"), "80/tcp");
        assert_eq!(ports("[::1]:8080:80/udp"), "80/udp");
    }

    #[test]
    fn nonsense_says_what_was_expected() {
        assert_eq!(ports("80/foo"), "error: `foo` is none of `tcp`, `udp` and `sctp`");
        assert_eq!(ports(""), "error: the port is missing");
        assert_eq!(ports("82-80"), "error: the range ends before it starts");
        assert_eq!(ports("65536"), "error: `65536` is not a number from 0 to 65535");
        assert_eq!(ports("+1"), "error: `+1` is not a number from 0 to 65535");
        assert_eq!(ports("a:1:2"), "error: `a` is no IP address");
        assert_eq!(ports("1-2:1-3"), "error: the two ranges do not have the same length");
        assert_eq!(ports("3000 4000"), "error: `3000 4000` is not a number from 0 to 65535");
    }
}
