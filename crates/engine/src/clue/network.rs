//! What of the network could not be reached, from where, and by which proxies. Credentials are left out of all of it.

use std::error::Error;

use stave_fetch::{FetchError, GitError};
use stave_graph::{Exec, Network};
use stave_http::error::TransportError;
use stave_http::{Environment, HttpError};
use stave_registry::RegistryError;

use super::said;
use crate::error::EngineError;

/// How something was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No address was found for a name.
    Name,
    /// Nobody listens there.
    Refused,
    /// No answer came in time.
    Silence,
    /// There is no way to that network.
    NoRoute,
}

/// Which network was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepNetwork {
    /// A step's: that of this machine.
    Machines,
    /// A step's: only a proxy of the builder's, which records what it is asked.
    Recorded,
    /// A step's: none but its own loopback device.
    None,
    /// The builder's own.
    Builders,
}

/// What could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// How.
    pub trouble: Trouble,
    /// The host, if it is known.
    pub host: Option<String>,
    /// From where.
    pub network: StepNetwork,
    /// The proxies that were in force, by the names of their variables and without credentials.
    pub proxies: Vec<(String, String)>,
    /// Whether the builder has proxies of its own, which a step gets only as build arguments.
    pub builder_has_proxies: bool,
}

pub(super) fn of(exec: &Exec) -> StepNetwork {
    match exec.network {
        Network::Host if exec.recorded => StepNetwork::Recorded,
        Network::Host => StepNetwork::Machines,
        Network::None => StepNetwork::None,
    }
}

/// The proxies of a step. Both cases of a name are one.
pub(super) fn of_step(exec: &Exec) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for entry in exec.env.iter().chain(&exec.unkeyed_env) {
        let Some((name, value)) = entry.split_once('=') else { continue };
        let name = name.to_ascii_uppercase();
        let is_proxy = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"].contains(&name.as_str());
        if is_proxy && !value.is_empty() && found.iter().all(|(known, _)| *known != name) {
            found.push((name, without_credentials(value)));
        }
    }
    found
}

/// The builder's own proxies.
pub(super) fn of_builder(environment: &Environment) -> Vec<(String, String)> {
    let all = [
        ("HTTP_PROXY", &environment.http_proxy),
        ("HTTPS_PROXY", &environment.https_proxy),
        ("NO_PROXY", &environment.no_proxy),
    ];
    let given =
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), without_credentials(value.as_ref()?))));
    given.filter(|(_, value)| !value.is_empty()).collect()
}

/// An address without who asks: what is before an `@`.
fn without_credentials(address: &str) -> String {
    let (scheme, rest) =
        address.split_once("://").map_or(("", address), |(_, rest)| (&address[..address.len() - rest.len()], rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may have a slash that should have been encoded: then the last `@` of all counts.
    let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'));
    format!("{scheme}{}", at.map_or(rest, |at| &rest[at + 1..]))
}

/// Returns how the builder itself did not reach something, if that is what the error says.
pub(super) fn trouble(error: &EngineError) -> Option<(Trouble, Option<String>)> {
    match error {
        EngineError::Fetch(FetchError::Http(error)) => of_http(error),
        EngineError::Registry(error) => of_registry(error),
        EngineError::Git(GitError::TimedOut { .. }) => Some((Trouble::Silence, None)),
        EngineError::Git(GitError::Failed { words, .. }) => words.lines().find_map(said::unreachable),
        _ => {
            let mut cause = error.source();
            while let Some(error) = cause {
                let of_http = || error.downcast_ref::<HttpError>().and_then(of_http);
                let of_registry = || error.downcast_ref::<RegistryError>().and_then(of_registry);
                if let Some(found) = of_http().or_else(of_registry) {
                    return Some(found);
                }
                cause = error.source();
            }
            None
        }
    }
}

/// Of a registry whose mirrors do not work, what counts is the registry itself: that is what the proxies are for.
fn of_registry(mut error: &RegistryError) -> Option<(Trouble, Option<String>)> {
    loop {
        match error {
            RegistryError::Http(error) => return of_http(error),
            RegistryError::Mirrors { source, .. } => error = source,
            _ => return None,
        }
    }
}

fn of_http(error: &HttpError) -> Option<(Trouble, Option<String>)> {
    let HttpError::Transport { url, source, .. } = error else { return None };
    let authority = url.origin().authority();
    let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).to_owned();
    let trouble = match source {
        TransportError::Resolve { .. } => Trouble::Name,
        TransportError::Timeout { .. } => Trouble::Silence,
        TransportError::Io(error) => of_io(error)?,
        _ => return None,
    };
    Some((trouble, Some(host)))
}

fn of_io(error: &std::io::Error) -> Option<Trouble> {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Some(Trouble::Refused),
        Kind::TimedOut => Some(Trouble::Silence),
        Kind::NetworkUnreachable | Kind::HostUnreachable => Some(Trouble::NoRoute),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_who_uses_it() {
        assert_eq!(without_credentials("http://me:secret@proxy:3128/"), "http://proxy:3128/");
        assert_eq!(without_credentials("me:se/cret@proxy:3128"), "proxy:3128");
        assert_eq!(without_credentials("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_credentials("localhost,.example"), "localhost,.example");
    }
}
