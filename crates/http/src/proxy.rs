//! Which proxy leads to which host.

use std::net::IpAddr;

use ureq::Proxy;

use crate::environment::Environment;
use crate::url::{Origin, Scheme};

/// Returns the proxy for `origin`, if one is configured for it. This machine is never reached through one.
pub(crate) fn for_origin(environment: &Environment, origin: &Origin) -> Option<Proxy> {
    let configured = match origin.scheme {
        Scheme::Http => &environment.http_proxy,
        Scheme::Https => &environment.https_proxy,
    };
    let text = configured.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
    if origin.is_loopback() || excluded(environment.no_proxy.as_deref().unwrap_or_default(), origin) {
        return None;
    }
    Proxy::new(text).ok()
}

/// Whether `no_proxy` names the host: `*`, `example.com` (and all below), `.example.com` (only below), an address,
/// a network like `10.0.0.0/8`; each perhaps with a port.
fn excluded(no_proxy: &str, origin: &Origin) -> bool {
    no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        let entry = entry.to_ascii_lowercase();
        if let Some((network, bits)) = entry.split_once('/') {
            return within(network, bits, origin.address()).unwrap_or(false);
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() && !name.contains(':') => (name, port.parse().ok()),
            _ => (entry.as_str(), None),
        };
        if port.is_some_and(|port: u16| port != origin.port) {
            return false;
        }
        let host = origin.host.as_str();
        let below =
            |suffix: &str| host.strip_suffix(suffix).is_some_and(|start| start.ends_with('.') && start.len() > 1);
        match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(suffix) => below(suffix),
            None => host == name || host.trim_matches(['[', ']']) == name || below(name),
        }
    })
}

fn within(network: &str, bits: &str, address: Option<IpAddr>) -> Option<bool> {
    let (network, bits): (IpAddr, u32) = (network.parse().ok()?, bits.parse().ok()?);
    match (network, address?) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.checked_sub(bits)?;
            Some(u64::from(network.to_bits()) >> shift == u64::from(address.to_bits()) >> shift)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.checked_sub(bits)?;
            Some(shift == 128 || network.to_bits() >> shift == address.to_bits() >> shift)
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_are_honoured() {
        let skips = |no_proxy: &str, host: &str| {
            excluded(no_proxy, &Origin::of_authority(Scheme::Https, host).expect("the host is valid"))
        };
        assert!(skips("*", "a.example"));
        assert!(skips("x, example.com", "example.com") && skips("example.com", "a.example.com"));
        assert!(!skips("example.com", "badexample.com"));
        assert!(skips(".example.com", "a.example.com") && !skips(".example.com", "example.com"));
        assert!(skips("example.com:8443", "example.com:8443") && !skips("example.com:8443", "example.com"));
        assert!(skips("10.0.0.0/8", "10.1.2.3:5000") && !skips("10.0.0.0/8", "11.1.2.3"));
        assert!(skips("fd00::/8", "[fd12::1]:5000") && !skips("10.0.0.0/99", "10.1.2.3"));
        assert!(skips("::1", "[::1]"));
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        let environment = Environment { http_proxy: Some("http://p.example:3128".into()), ..Environment::default() };
        let proxied = |authority: &str, scheme| {
            let origin = Origin::of_authority(scheme, authority).expect("the host is valid");
            for_origin(&environment, &origin).is_some()
        };
        assert!(proxied("a.example", Scheme::Http));
        assert!(!proxied("127.0.0.1:5000", Scheme::Http));
        assert!(!proxied("a.example", Scheme::Https));
    }
}
