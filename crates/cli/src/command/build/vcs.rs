//! Labels that say from which commit an image was built, where `BUILDX_GIT_LABELS` asks for them.
//!
//! Reference: buildx, `build/git.go`.

use std::path::Path;
use std::process::{Command, Stdio};

use super::variables::Surroundings;
use crate::args::truth;

/// Returns the labels, and adds to `notes` why there are none.
pub(super) fn labels(
    context: &Path,
    dockerfile: Option<&Path>,
    surroundings: &Surroundings<'_>,
    notes: &mut Vec<String>,
) -> Vec<(String, String)> {
    let is_on = |name: &str| surroundings.text(name).is_some_and(|text| text == "full" || truth(&text) == Some(true));
    if !is_on("BUILDX_GIT_LABELS") || !context.is_dir() {
        return Vec::new();
    }
    let found = git(context, &["rev-parse", "HEAD"])
        .and_then(|commit| Ok((commit, git(context, &["rev-parse", "--show-toplevel"])?)));
    let (mut revision, root) = match found {
        Ok(found) => found,
        Err(why) => {
            notes.push(format!("no label says which commit this is, as BUILDX_GIT_LABELS asks: {why}"));
            return Vec::new();
        }
    };
    let is_dirty = || git(context, &["status", "--porcelain"]).is_ok_and(|changes| !changes.is_empty());
    if is_on("BUILDX_GIT_CHECK_DIRTY") && is_dirty() {
        revision.push_str("-dirty");
    }
    let mut labels = vec![("org.opencontainers.image.revision".to_owned(), revision)];
    if let Ok(address) = git(context, &["remote", "get-url", "origin"]) {
        labels.push(("org.opencontainers.image.source".to_owned(), without_credentials(&address)));
    }
    let dockerfile = dockerfile.map_or_else(|| context.join("Dockerfile"), Path::to_owned);
    let inside = dockerfile.canonicalize().ok();
    if let Some(inside) = inside.as_deref().and_then(|path| path.strip_prefix(&root).ok()?.to_str()) {
        labels.push(("com.docker.image.source.entrypoint".to_owned(), inside.to_owned()));
    }
    labels
}

/// Returns what `git` prints about the repository that a directory is in.
fn git(directory: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        // A program that the repository names must not run for a label.
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run `git`: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr).replace('\n', " ")) }
}

/// Returns an address without the user and the password in it.
fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_no_password() {
        for (address, expected) in [
            ("https://user:pass@example.com/a.git", "https://example.com/a.git"),
            ("https://token@example.com", "https://example.com"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("git@example.com:a.git", "git@example.com:a.git"),
        ] {
            assert_eq!(without_credentials(address), expected, "{address}");
        }
    }
}
