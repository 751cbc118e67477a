//! What is on the network: files and repositories, for steps and for contexts.
//!
//! Turns an address into content that the store has, or only into the digest of it where the server says that it is what
//! the store knows. What the caller grants proves who asks; nothing of it is kept.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stave_fetch::{
    Download, FetchError, Fetched, FileRequest, FileSink, Git, GitAccess, GitError, Limits, Objects, Resolved,
    Validators,
};
use stave_graph::GitSource;
use stave_graph::remote::{redacted, without_credentials};
use stave_http::Secret;
use stave_oci::digest::hex;
use stave_oci::{BlobDigest, Hasher};
use stave_store::{BlobExpectation, Lease, WorkDir};

use crate::base::Sink;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::request::Grants;
use crate::steps::secret;
use crate::task::Task;

/// Bytes of what is remembered of one file.
const MEMORY_BYTES_MAX: u64 = 16 * 1024;

/// A file on the network whose content is known, whether the store has it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    /// The digest of its content.
    pub(crate) digest: BlobDigest,
    /// When it was changed last, in seconds since 1970, if the server said so.
    pub(crate) modified: Option<i64>,
}

/// What is remembered of a file that was fetched: enough to learn that it is still the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    digest: String,
    modified: Option<i64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Memory {
    fn of(download: &Download) -> Self {
        let Validators { etag, last_modified } = download.validators.clone();
        Self { digest: download.digest.to_string(), modified: download.modified, etag, last_modified }
    }

    fn file(&self) -> Option<RemoteFile> {
        Some(RemoteFile { digest: self.digest.parse().ok()?, modified: self.modified })
    }

    fn validators(&self) -> Validators {
        Validators { etag: self.etag.clone(), last_modified: self.last_modified.clone() }
    }
}

/// A repository that is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Which, and what of it.
    pub(crate) source: &'a GitSource,
    /// What proves who asks.
    pub(crate) grants: &'a Grants,
    /// Whether the caller named it, and not a Dockerfile that may be anybody's.
    pub(crate) by_caller: bool,
}

/// A file that is asked for, by one who may prove who he is.
struct Asked<'a> {
    url: &'a str,
    authorization: Option<Secret<String>>,
    /// The name of what is remembered of it.
    memory: Vec<u8>,
}

impl<'a> Asked<'a> {
    fn new(url: &'a str, grants: &Grants) -> Result<Self, EngineError> {
        let authorization = file_authorization(url, grants)?;
        let mut hasher = Hasher::new();
        // Somebody else may be shown another file at the same place.
        let proof = authorization.as_ref().map_or("", |value| value.expose().as_str());
        for part in [url, proof] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let digest: BlobDigest = hasher.finish();
        let memory = format!("http-{}", hex(&digest.as_bytes()[..16])).into_bytes();
        Ok(Self { url, authorization, memory })
    }
}

impl Engine {
    /// Finds out what the file at `url` has in it now. The store has it afterwards, unless it is what an earlier build
    /// fetched.
    pub(crate) fn examine_file(
        &self,
        lease: &Lease,
        url: &str,
        grants: &Grants,
        events: Report<'_>,
    ) -> Result<RemoteFile, EngineError> {
        let asked = Asked::new(url, grants)?;
        let memory = self.recall(&asked);
        let known = memory.as_ref().map(Memory::validators);
        match self.download(lease, &asked, None, known.as_ref(), events)? {
            Some(file) => Ok(file),
            None => memory.as_ref().and_then(Memory::file).ok_or_else(|| {
                EngineError::request(format!("{} is unchanged, but nothing is known of it", redacted(url)), None)
            }),
        }
    }

    /// Has the store have the file at `url`, whose content must be `expected` if that is given, and `seen` if it was
    /// examined before.
    pub(crate) fn fetch_file(
        &self,
        lease: &Lease,
        url: &str,
        expected: Option<BlobDigest>,
        grants: &Grants,
        events: Report<'_>,
    ) -> Result<RemoteFile, EngineError> {
        let asked = Asked::new(url, grants)?;
        let remembered = self.recall(&asked).and_then(|memory| memory.file());
        if let Some(file) = remembered.filter(|file| Some(file.digest) == expected)
            && lease.blob(&file.digest)?.is_some()
        {
            return Ok(file);
        }
        let file = self.download(lease, &asked, expected, None, events)?;
        file.ok_or_else(|| EngineError::request(format!("{} came without its content", redacted(url)), None))
    }

    /// Fetches a file into the store; nothing if it is what is known.
    fn download(
        &self,
        lease: &Lease,
        asked: &Asked<'_>,
        checksum: Option<BlobDigest>,
        known: Option<&Validators>,
        events: Report<'_>,
    ) -> Result<Option<RemoteFile>, EngineError> {
        self.go_on()?;
        Task::during(events, TaskKind::Fetch, format!("fetch {}", shown(asked.url)), |task| {
            let mut sink = Sink(lease.blob_writer(BlobExpectation::none())?);
            let authorization = asked.authorization.as_ref();
            let request = FileRequest { url: asked.url, known, checksum, authorization };
            let again = |error: &FetchError, wait: Duration| {
                let seconds = wait.as_secs_f64();
                let message = format!("{}; it is tried again in {seconds:.1} s", crate::told::causes(error));
                events(Event::Notice { message });
            };
            let progress = |done, total| task.progress(done, total);
            let Fetched::Whole(download) = self.fetcher().fetch(request, &mut sink, &progress, &again)? else {
                return Ok(None);
            };
            sink.0.commit()?;
            self.remember(asked, &Memory::of(&download));
            Ok(Some(RemoteFile { digest: download.digest, modified: download.modified }))
        })
    }

    fn recall(&self, asked: &Asked<'_>) -> Option<Memory> {
        let directory = self.store_dir(self.store.context_rel_path()).ok()?;
        let memory: Memory =
            serde_json::from_slice(&directory.read_file(&asked.memory, MEMORY_BYTES_MAX).ok()?).ok()?;
        memory.file().map(|_| memory)
    }

    /// Losing it costs time only, so nothing fails for it.
    fn remember(&self, asked: &Asked<'_>, memory: &Memory) {
        if let Ok(directory) = self.store_dir(self.store.context_rel_path())
            && let Ok(bytes) = serde_json::to_vec(memory)
        {
            drop(directory.replace_file(&asked.memory, &bytes, 0o600));
        }
    }

    /// Finds the commit that `source` names now.
    pub(crate) fn resolve_commit(
        &self,
        lease: &Lease,
        wanted: Wanted<'_>,
        events: Report<'_>,
    ) -> Result<Resolved, EngineError> {
        Task::during(events, TaskKind::Resolve, format!("resolve {}", shown(&wanted.source.url)), |_| {
            let scratch = lease.work_dir()?;
            Ok(self.git(wanted, &scratch)?.resolve(wanted.source)?)
        })
    }

    /// Fetches what the commit that `wanted` is pinned to says, and the tag that it names.
    pub(crate) fn commit_objects(
        &self,
        lease: &Lease,
        wanted: Wanted<'_>,
        events: Report<'_>,
    ) -> Result<Objects, EngineError> {
        self.go_on()?;
        let title = format!("read the commit of {}", shown(&wanted.source.url));
        Task::during(events, TaskKind::Fetch, title, |_| {
            let (scratch, into) = (lease.work_dir()?, lease.work_dir()?);
            let git = self.git(wanted, &scratch)?;
            let resolved = git.resolve(wanted.source)?;
            Ok(git.objects(wanted.source, &resolved, &into.path().join("diff"))?)
        })
    }

    /// Makes the files of a commit in the directory of `into`, and returns when it was made, in seconds since 1970.
    pub(crate) fn check_out(
        &self,
        lease: &Lease,
        wanted: Wanted<'_>,
        resolved: &Resolved,
        into: &WorkDir,
        events: Report<'_>,
    ) -> Result<i64, EngineError> {
        self.go_on()?;
        let title = format!("fetch {} of {}", &resolved.commit[..12], shown(&wanted.source.url));
        Task::during(events, TaskKind::Fetch, title, |_| {
            let scratch = lease.work_dir()?;
            let made = self.git(wanted, &scratch)?.checkout(wanted.source, resolved, &into.path().join("diff"))?;
            self.go_on()?;
            Ok(made)
        })
    }

    fn git(&self, wanted: Wanted<'_>, scratch: &WorkDir) -> Result<Git, EngineError> {
        let Wanted { source, grants, by_caller } = wanted;
        let registries = &self.settings.registries;
        let authorization = stave_fetch::git::authorization(&source.url, |name| secret::read(grants, name, false))?;
        let (mut ssh_agent, ssh_keys) = ssh(grants);
        if by_caller && ssh_agent.is_none() && ssh_keys.is_empty() {
            ssh_agent.clone_from(&self.settings.ssh_agent);
        }
        let etc = registries.http.etc();
        let home = registries.home.as_ref().map(|home| home.join(".ssh/known_hosts"));
        let known_hosts = home.into_iter().chain([etc.join("ssh/ssh_known_hosts")]).collect();
        let access = GitAccess { authorization, ssh_agent, ssh_keys, known_hosts };
        let (environment, cancel) = (registries.http.clone(), self.settings.cancel.transfers());
        let scratch = scratch.path().join("diff");
        let place = (source.url.as_str(), scratch.as_path());
        Ok(Git::find(registries.path.as_deref(), environment, access, Limits::default(), cancel, place)?)
    }
}

/// Returns an address for people: neither credentials nor what a query may sign with.
pub(crate) fn shown(url: &str) -> String {
    let plain = without_credentials(url);
    plain.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// Returns the socket of the agent `default`, or the files with keys that take its place.
fn ssh(grants: &Grants) -> (Option<PathBuf>, Vec<PathBuf>) {
    let is_socket = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    match grants.ssh.get("default").map(Vec::as_slice) {
        None => (None, Vec::new()),
        Some([path]) if is_socket(path) => (Some(path.clone()), Vec::new()),
        Some(keys) => (None, keys.to_vec()),
    }
}

/// Returns what proves to the host of `url` who asks.
///
/// Reference: BuildKit, `frontend/dockerfile/docs/reference.md`, "Adding files from a private URL": secrets
/// `HTTP_AUTH_HEADER_<host>` and `HTTP_AUTH_TOKEN_<host>`.
fn file_authorization(url: &str, grants: &Grants) -> Result<Option<Secret<String>>, EngineError> {
    let plain = without_credentials(url);
    let rest = plain.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    for (start, scheme) in [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")] {
        let name = format!("{start}{host}");
        let Some(bytes) = secret::read(grants, &name, false)? else { continue };
        let text = String::from_utf8(bytes).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(GitError::Secret { name }.into());
        }
        return Ok(Some(Secret::new(format!("{scheme}{text}"))));
    }
    Ok(None)
}

impl FileSink for Sink {
    fn restart(&mut self) -> std::io::Result<()> {
        self.0.restart().map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SecretSource;

    fn grants(secrets: &[(&str, &str)]) -> Grants {
        let value = |text: &str| SecretSource::Value(text.as_bytes().to_vec());
        let secrets = secrets.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        Grants { secrets, ..Grants::default() }
    }

    /// A159
    #[test]
    fn the_secret_for_a_host_is_sent_to_that_host_only() {
        let grants = grants(&[("HTTP_AUTH_TOKEN_h:81", "t\n"), ("HTTP_AUTH_HEADER_g", "Basic x")]);
        let found = |url: &str| {
            let found = file_authorization(url, &grants).expect("the secrets are valid");
            found.map(|value| value.expose().clone())
        };
        assert_eq!(found("http://h:81/a").as_deref(), Some("Bearer t"));
        assert_eq!(found("https://me:pw@g?x").as_deref(), Some("Basic x"));
        assert_eq!(found("http://h/a"), None);
        assert_eq!(found("http://h:81@evil/a"), None);
    }

    #[test]
    fn a_memory_is_that_of_an_address_and_of_who_asks() {
        let name = |url: &str, given: &[(&str, &str)]| Asked::new(url, &grants(given)).expect("they are valid").memory;
        let plain = name("http://h/a", &[]);
        assert_eq!(plain, name("http://h/a", &[("HTTP_AUTH_TOKEN_g", "t")]));
        assert_ne!(plain, name("http://h/b", &[]));
        assert_ne!(plain, name("http://h/a", &[("HTTP_AUTH_TOKEN_h", "t")]));
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        assert_eq!(shown("https://me:pw@h/a?sig=x#y"), "https://h/a");
        assert_eq!(shown("git@h:a.git"), "git@h:a.git");
    }
}
