//! What proves to a server who asks: a header for one host, or an SSH agent.
//!
//! Reference: BuildKit, `frontend/dockerfile/docs/reference.md`, "Adding private Git repositories".

use std::path::PathBuf;

use base64::Engine as _;
use stave_graph::remote::without_credentials;
use stave_http::Secret;

use super::GitError;
use crate::file::basic;
use crate::limits;

/// What a command of `git` may use to prove who asks.
#[derive(Debug, Clone, Default)]
pub struct GitAccess {
    /// The value of the header `Authorization`, for the host of the repository's address only.
    pub authorization: Option<Secret<String>>,
    /// The socket of an SSH agent.
    pub ssh_agent: Option<PathBuf>,
    /// Files with SSH keys.
    pub ssh_keys: Vec<PathBuf>,
    /// Files with the keys of SSH hosts. A host that none of them knows is not spoken to.
    pub known_hosts: Vec<PathBuf>,
}

/// Returns the value of the header `Authorization` for the repository at `url`: from the secrets `GIT_AUTH_HEADER` and
/// `GIT_AUTH_TOKEN`, of which those with the host's name behind a dot come first; else from the address itself.
///
/// # Errors
/// If a secret cannot be read, or is none for a header.
pub fn authorization<E>(
    url: &str,
    mut secret: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Secret<String>>, E>
where
    E: From<GitError>,
{
    let Some(host) = host_of(url) else { return Ok(None) };
    for (start, is_token) in [("GIT_AUTH_HEADER", false), ("GIT_AUTH_TOKEN", true)] {
        for name in [format!("{start}.{host}"), start.to_owned()] {
            let Some(bytes) = secret(&name)? else { continue };
            let text = header_text(&bytes).ok_or(GitError::Secret { name })?;
            let value = if is_token {
                let text = format!("x-access-token:{text}");
                format!("basic {}", base64::engine::general_purpose::STANDARD.encode(text))
            } else {
                text
            };
            return Ok(Some(Secret::new(value)));
        }
    }
    Ok(basic(url))
}

/// Returns the secret as the text that it is, without the end of its line.
fn header_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let fits = !text.is_empty() && text.len() <= limits::HEADER_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// Returns the host of an HTTP(S) address, with its port.
fn host_of(url: &str) -> Option<String> {
    let plain = without_credentials(url);
    let (scheme, rest) = plain.split_once("://")?;
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    matches!(scheme, "http" | "https").then(|| host.to_owned())
}

/// Returns the address up to the path, which is where the header is sent.
pub(crate) fn scope_of(url: &str) -> Option<String> {
    let plain = without_credentials(url);
    let (scheme, _) = plain.split_once("://")?;
    Some(format!("{scheme}://{}/", host_of(url)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str, secrets: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| {
            let found = secrets.iter().find(|(known, _)| *known == name);
            Ok::<_, GitError>(found.map(|(_, value)| value.as_bytes().to_vec()))
        };
        authorization(url, lookup).expect("the secrets are valid").map(|value| value.expose().clone())
    }

    /// T140
    #[test]
    fn the_secret_of_the_host_comes_first() {
        let secrets =
            [("GIT_AUTH_TOKEN", "t\n"), ("GIT_AUTH_TOKEN.a.io:81", "u"), ("GIT_AUTH_HEADER.b.io", "Bearer v")];
        assert_eq!(found("https://c.io/x.git", &secrets).as_deref(), Some("basic eC1hY2Nlc3MtdG9rZW46dA=="));
        assert_eq!(found("http://me@a.io:81/x.git", &secrets).as_deref(), Some("basic eC1hY2Nlc3MtdG9rZW46dQ=="));
        assert_eq!(found("https://b.io/x.git", &secrets).as_deref(), Some("Bearer v"));
        assert_eq!(found("https://me:pw@b.io/x.git", &[]).as_deref(), Some("Basic bWU6cHc="));
        assert_eq!(found("ssh://git@b.io/x.git", &secrets), None);
        assert_eq!(found("git@b.io:x.git", &secrets), None);
    }

    #[test]
    fn a_secret_that_would_be_two_headers_is_refused() {
        let lookup = |_: &str| Ok::<_, GitError>(Some(b"a\r\nEvil: yes".to_vec()));
        assert!(matches!(authorization("https://b.io/x.git", lookup), Err(GitError::Secret { .. })));
    }
}
