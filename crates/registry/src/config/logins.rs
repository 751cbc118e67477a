//! Keeps credentials where Docker does: in `config.json`, or with the credential helper that it names.
//!
//! Everything else in the file stays as it is. A reader sees the old file or the new one, only the user can read it, and
//! of several that log in at the same time none loses its entry.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::credentials::{self, Credential, CredentialError, canonical, host_of, server_key};
use super::helper::Helper;
use super::{Environment, read_optional};
use stave_http::Cancel;

/// Where credentials were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, where whoever can read it can read them.
    InFile(PathBuf),
    /// With the program of this name.
    WithHelper(String),
}

/// The file and what it says, while nobody else changes it.
struct Logins {
    path: PathBuf,
    document: Map<String, Value>,
    /// Keeps others out until it is closed.
    _lock: File,
}

/// Keeps `credential` for the registry `host`.
///
/// Errors: the file cannot be read, understood or written; the helper fails.
pub(crate) fn keep(
    environment: &Environment,
    cancel: &Cancel,
    host: &str,
    credential: &Credential,
) -> Result<Kept, CredentialError> {
    let mut logins = Logins::open(environment)?;
    let key = server_key(host).to_owned();
    let helper = logins.helper(host);
    let entry = match &helper {
        Some(helper) => {
            Helper { search: environment.path.as_deref(), cancel }.store(helper, &key, credential)?;
            json!({})
        }
        None => entry(credential),
    };
    logins.forget(host);
    logins.auths().insert(key, entry);
    let kept = helper.map_or_else(
        || Kept::InFile(logins.path.clone()),
        |name| Kept::WithHelper(format!("docker-credential-{name}")),
    );
    logins.save()?;
    Ok(kept)
}

/// Forgets the credentials of the registry `host`. Returns whether there were any.
///
/// Errors: as with [`keep`].
pub(crate) fn forget(environment: &Environment, cancel: &Cancel, host: &str) -> Result<bool, CredentialError> {
    let mut logins = Logins::open(environment)?;
    if let Some(helper) = logins.helper(host) {
        Helper { search: environment.path.as_deref(), cancel }.erase(&helper, server_key(host))?;
    }
    let known = logins.forget(host);
    if known {
        logins.save()?;
    }
    Ok(known)
}

/// Returns the file that credentials are written to.
fn path(environment: &Environment) -> Result<PathBuf, CredentialError> {
    if let Some(path) = &environment.registry_auth_file {
        return Ok(path.clone());
    }
    let home = || environment.home.as_ref().map(|home| home.join(".docker"));
    environment
        .docker_config
        .clone()
        .or_else(home)
        .map(|folder| folder.join("config.json"))
        .ok_or(CredentialError::NoPlace)
}

impl Logins {
    fn open(environment: &Environment) -> Result<Self, CredentialError> {
        let path = path(environment)?;
        // Of a link, what it leads to is written; that may be in a repository of the user's settings.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let unwritable = |source| CredentialError::Write { path: path.clone(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unwritable)?;
        let lock = File::open(folder).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        let bytes = read_optional(&path).map_err(|source| CredentialError::Read { path: path.clone(), source })?;
        let bytes = bytes.unwrap_or_default();
        let document = if bytes.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            // The same check as when it is read: what is not understood is not written over.
            credentials::check(&path.display().to_string(), &bytes)?;
            serde_json::from_slice(&bytes).map_err(|error| CredentialError::Syntax {
                source_name: path.display().to_string(),
                line: error.line(),
                column: error.column(),
            })?
        };
        Ok(Self { path, document, _lock: lock })
    }

    /// Returns the helper that the file names for `host`.
    fn helper(&self, host: &str) -> Option<String> {
        let of_host = self.document.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, _)| host_of(key) == canonical(host)).and_then(|(_, name)| name.as_str())
        });
        let of_all = || self.document.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty());
        of_host.or_else(of_all).map(str::to_owned)
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths.as_object_mut().expect("it was made one")
    }

    /// Removes every entry that is for the whole of `host`, in whichever way it is written.
    fn forget(&mut self, host: &str) -> bool {
        let auths = self.auths();
        let before = auths.len();
        auths.retain(|key, _| host_of(key) != canonical(host));
        auths.len() < before
    }

    fn save(self) -> Result<(), CredentialError> {
        let unwritable = |source| CredentialError::Write { path: self.path.clone(), source };
        let mut bytes = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
        self.document.serialize(&mut serializer).expect("a value is serialized to memory");
        let name = self.path.file_name().ok_or_else(|| unwritable(io::ErrorKind::InvalidInput.into()))?;
        let mut new = name.to_owned();
        new.push(format!(".{}.tmp", std::process::id()));
        let new = self.path.with_file_name(new);
        let written = write_new(&new, &bytes).and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // What failed is told; that a file stays is the lesser news.
            drop(fs::remove_file(&new));
        }
        written.map_err(unwritable)
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How Docker writes credentials.
fn entry(credential: &Credential) -> Value {
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    match credential {
        Credential::Password { username, password } => {
            json!({ "auth": encode(format!("{username}:{}", password.expose())) })
        }
        Credential::Identity(token) => json!({ "identitytoken": token.expose() }),
        Credential::Registry(token) => json!({ "registrytoken": token.expose() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use stave_http::Secret;

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password { username: username.into(), password: Secret::new(password.into()) }
    }

    fn home() -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let environment = Environment { home: Some(folder.path().to_owned()), ..Environment::default() };
        (folder, environment)
    }

    fn found(environment: &Environment, host: &str) -> Option<Credential> {
        credentials::find(environment, &Cancel::new(), host, "x").expect("the file is valid")
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten_and_nothing_else_changes() {
        let (folder, environment) = home();
        let path = folder.path().join(".docker/config.json");
        let (a, b) = (password("u", "p:w"), password("\u{fc}", ""));
        for (host, credential) in [("a.io", &a), ("docker.io", &b)] {
            let kept = keep(&environment, &Cancel::new(), host, credential).expect("it is kept");
            assert_eq!(kept, Kept::InFile(path.clone()));
        }
        let text = fs::read_to_string(&path).expect("it was written");
        assert!(text.contains("\t\t\"https://index.docker.io/v1/\": {") && text.contains("\t\t\"a.io\": {"), "{text}");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!((found(&environment, "a.io"), found(&environment, "docker.io")), (Some(a), Some(b.clone())));

        let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
        value["HttpHeaders"] = json!({ "X": "1" });
        value["auths"]["https://a.io/v2/"] = json!({ "auth": "YTox" });
        fs::write(&path, value.to_string()).expect("it can be written");
        assert!(forget(&environment, &Cancel::new(), "a.io").expect("it is forgotten"));
        assert!(!forget(&environment, &Cancel::new(), "a.io").expect("there is nothing"));
        assert_eq!((found(&environment, "a.io"), found(&environment, "docker.io")), (None, Some(b)));
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(text.contains("\"X\": \"1\""), "{text}");
        assert_eq!(fs::read_dir(folder.path().join(".docker")).expect("it is there").count(), 1, "nothing is left");
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_written_over() {
        let (folder, environment) = home();
        let path = folder.path().join(".docker/config.json");
        fs::create_dir(folder.path().join(".docker")).expect("it can be made");
        for text in ["{\"auths\":", "[]", "{\"auths\":{\"a.io\":{\"auth\":1}}}"] {
            fs::write(&path, text).expect("it can be written");
            let error =
                keep(&environment, &Cancel::new(), "a.io", &password("u", "hunter2")).expect_err("it is no JSON");
            assert!(matches!(error, CredentialError::Syntax { .. }), "{error:?}");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
    }

    #[test]
    fn a_link_stays_a_link_and_variables_name_other_files() {
        let (folder, mut environment) = home();
        let real = folder.path().join("settings.json");
        fs::write(&real, "{}").expect("it can be written");
        fs::create_dir(folder.path().join(".docker")).expect("it can be made");
        let link = folder.path().join(".docker/config.json");
        std::os::unix::fs::symlink(&real, &link).expect("it can be made");
        keep(&environment, &Cancel::new(), "a.io", &password("u", "p")).expect("it is kept");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert!(fs::read_to_string(&real).expect("it is there").contains("a.io"));
        environment.docker_config = Some(folder.path().join("other"));
        let kept = keep(&environment, &Cancel::new(), "b.io", &password("u", "p")).expect("it is kept");
        assert_eq!(kept, Kept::InFile(folder.path().join("other/config.json")));
        environment.registry_auth_file = Some(folder.path().join("auth.json"));
        let kept = keep(&environment, &Cancel::new(), "c.io", &password("u", "p")).expect("it is kept");
        assert_eq!(kept, Kept::InFile(folder.path().join("auth.json")));
        let nowhere = Environment::default();
        let error = keep(&nowhere, &Cancel::new(), "a.io", &password("u", "p")).expect_err("there is no place");
        assert!(matches!(error, CredentialError::NoPlace));
    }

    #[test]
    fn helpers_keep_what_the_file_then_does_not() {
        let (folder, mut environment) = home();
        let script = "#!/bin/sh\ncat > \"$0.$1\"\n";
        let program = folder.path().join("docker-credential-test");
        fs::write(&program, script).expect("it can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
        environment.path = Some(format!("{}:/usr/bin:/bin", folder.path().display()).into());
        let path = folder.path().join(".docker/config.json");
        fs::create_dir(folder.path().join(".docker")).expect("it can be made");
        fs::write(&path, r#"{"credHelpers":{"a.io":"test"},"auths":{"a.io":{"auth":"YTox"}}}"#)
            .expect("it can be written");
        let kept = keep(&environment, &Cancel::new(), "a.io", &password("u", "hunter2")).expect("it is kept");
        assert_eq!(kept, Kept::WithHelper("docker-credential-test".to_owned()));
        let stored =
            fs::read_to_string(folder.path().join("docker-credential-test.store")).expect("the helper was run");
        assert_eq!(stored, r#"{"ServerURL":"a.io","Username":"u","Secret":"hunter2"}"#);
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(!text.contains("YTox") && text.contains("\"a.io\": {}"), "{text}");
        forget(&environment, &Cancel::new(), "a.io").expect("it is forgotten");
        let erased =
            fs::read_to_string(folder.path().join("docker-credential-test.erase")).expect("the helper was run");
        assert_eq!(erased, "a.io");
    }

    #[test]
    fn of_several_that_log_in_at_once_none_is_lost() {
        let (_folder, environment) = home();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let environment = &environment;
                scope.spawn(move || {
                    let host = format!("r{number}.io");
                    keep(environment, &Cancel::new(), &host, &password("u", "p")).expect("it is kept");
                });
            }
        });
        for number in 0..16 {
            assert!(found(&environment, &format!("r{number}.io")).is_some(), "{number}");
        }
    }
}
