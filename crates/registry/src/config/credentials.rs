//! Credentials, from the files and programs where users of Docker, Podman and their kin keep them.
//!
//! Reference: containers-auth.json(5); Docker's `config.json`; docker/docker-credential-helpers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use serde::Deserialize;

use super::helper::Helper;
use super::{Environment, read_optional};
use stave_http::Cancel;
use stave_http::Secret;

/// What proves who the user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password, or what stands for one.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret<String>,
    },
    /// A token that is given to the token server in exchange for another one.
    Identity(Secret<String>),
    /// A token that the registry itself takes.
    Registry(Secret<String>),
}

/// Why credentials could not be read. No variant has any part of a credential in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A file is no JSON of the expected shape. The parser's own words may quote a secret and are left out.
    #[error("`{source_name}` is not a valid credentials file (line {line}, column {column})")]
    Syntax {
        /// The file, or the variable.
        source_name: String,
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1.
        column: usize,
    },
    /// An `auth` entry is not `name:password` in base64.
    #[error("the entry `{entry}` of `{source_name}` is not `name:password` in base64")]
    Encoding {
        /// The file, or the variable.
        source_name: String,
        /// The entry.
        entry: String,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// There is no place for the file.
    #[error("there is no place for credentials: neither HOME nor DOCKER_CONFIG is set")]
    NoPlace,
    /// The helper's name could lead out of the search path.
    #[error("`{0}` is not the name of a credential helper")]
    HelperName(String),
    /// The helper is not installed.
    #[error("cannot find the program `{0}`, which the configuration names as the credential helper")]
    HelperMissing(String),
    /// The helper could not be run.
    #[error("cannot run the credential helper `{name}`")]
    HelperRun {
        /// The program.
        name: String,
        /// How it failed.
        source: io::Error,
    },
    /// The helper ran and failed.
    #[error("the credential helper `{name}` failed ({status})")]
    HelperFailed {
        /// The program.
        name: String,
        /// Its exit status.
        status: String,
    },
    /// The helper's output is not what the protocol asks for.
    #[error("the credential helper `{0}` gave no credentials but other text")]
    HelperOutput(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Returns the credentials for `repository` at the registry `host`, if any are configured.
///
/// `host` is the registry's name as users write it (`docker.io`, `127.0.0.1:5000`).
/// Errors: [`CredentialError`]; a helper that fails is an error and never "no credentials".
pub(crate) fn find(
    environment: &Environment,
    cancel: &Cancel,
    host: &str,
    repository: &str,
) -> Result<Option<Credential>, CredentialError> {
    Ok(locate(environment, cancel, host, repository)?.map(|(credential, _)| credential))
}

/// Returns the same, and the file or variable that says so.
pub(crate) fn locate(
    environment: &Environment,
    cancel: &Cancel,
    host: &str,
    repository: &str,
) -> Result<Option<(Credential, String)>, CredentialError> {
    let search = Search { helpers: environment.path.as_deref(), cancel, host, repository };
    if let Some(text) = environment.docker_auth_config.as_deref().filter(|text| !text.trim().is_empty()) {
        let file = parse("DOCKER_AUTH_CONFIG", text.as_bytes())?;
        if let Some(found) = search.find_in(&file, "DOCKER_AUTH_CONFIG")? {
            return Ok(Some((found, "DOCKER_AUTH_CONFIG".to_owned())));
        }
    }
    for (path, required) in files(environment) {
        let read = |source| CredentialError::Read { path: path.clone(), source };
        let Some(bytes) = read_optional(&path).map_err(read)? else {
            if required {
                return Err(read(io::ErrorKind::NotFound.into()));
            }
            continue;
        };
        let name = path.display().to_string();
        if let Some(found) = search.find_in(&parse(&name, &bytes)?, &name)? {
            return Ok(Some((found, name)));
        }
    }
    Ok(None)
}

/// Lists the files to look into, in order, and whether each has to exist.
fn files(environment: &Environment) -> Vec<(PathBuf, bool)> {
    if let Some(path) = &environment.registry_auth_file {
        return vec![(path.clone(), true)];
    }
    let mut files = Vec::new();
    let mut add = |folder: Option<PathBuf>, name: &str| files.extend(folder.map(|folder| (folder.join(name), false)));
    // Docker's variable is the user's word for this run; the other places are where something once logged in.
    add(environment.docker_config.clone(), "config.json");
    add(environment.xdg_runtime_dir.clone(), "containers/auth.json");
    add(environment.config_home(), "containers/auth.json");
    if environment.docker_config.is_none() {
        add(environment.home.clone(), ".docker/config.json");
    }
    files
}

/// Whether a file would be understood when credentials are looked for.
pub(super) fn check(name: &str, bytes: &[u8]) -> Result<(), CredentialError> {
    parse(name, bytes).map(drop)
}

fn parse(name: &str, bytes: &[u8]) -> Result<AuthFile, CredentialError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(AuthFile::default());
    }
    serde_json::from_slice(bytes).map_err(|error| CredentialError::Syntax {
        source_name: name.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// Docker's key for Docker Hub, kept from the time of the first registry protocol.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What is looked for, and by what means.
struct Search<'a> {
    helpers: Option<&'a OsStr>,
    cancel: &'a Cancel,
    host: &'a str,
    repository: &'a str,
}

impl Search<'_> {
    fn find_in(&self, file: &AuthFile, name: &str) -> Result<Option<Credential>, CredentialError> {
        let ours = |(key, _): &(&String, &String)| host_of(key) == canonical(self.host);
        if let Some((_, helper)) = file.cred_helpers.iter().find(ours) {
            return self.ask(helper);
        }
        if !file.creds_store.is_empty()
            && let Some(found) = self.ask(&file.creds_store)?
        {
            return Ok(Some(found));
        }
        let Some((key, entry)) = entry_for(&file.auths, self.host, self.repository) else { return Ok(None) };
        decode(entry).map_err(|()| CredentialError::Encoding { source_name: name.to_owned(), entry: key.to_owned() })
    }

    /// Asks a helper for the credentials.
    fn ask(&self, helper: &str) -> Result<Option<Credential>, CredentialError> {
        Helper { search: self.helpers, cancel: self.cancel }.get(helper, server_key(self.host))
    }
}

/// Returns what Docker's files and helpers call a registry.
pub(crate) fn server_key(host: &str) -> &str {
    if canonical(host) == "docker.io" { DOCKER_HUB_KEY } else { host }
}

/// Returns the entry of the longest key that covers the repository: `host/team/app`, `host/team`, `host`.
fn entry_for<'a>(auths: &'a BTreeMap<String, Entry>, host: &str, repository: &str) -> Option<(&'a str, &'a Entry)> {
    let mut name = format!("{host}/{repository}");
    loop {
        if let Some((key, entry)) = auths.get_key_value(&name) {
            return Some((key, entry));
        }
        match name.rfind('/') {
            Some(end) => name.truncate(end),
            None => break,
        }
    }
    auths.iter().find(|(key, _)| host_of(key) == canonical(host)).map(|(key, entry)| (key.as_str(), entry))
}

/// Returns the registry that a key of Docker's means: `https://host/v1/`, `http://host`, `host`; for a key that
/// means a part of a registry, nothing that any registry is called.
pub(crate) fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match bare.split_once('/') {
        Some((host, "" | "v1" | "v1/" | "v2" | "v2/")) => canonical(host),
        Some((host, _)) if bare.len() < key.len() => canonical(host),
        Some(_) => "",
        None => canonical(bare),
    }
}

/// Docker Hub has several names.
pub(crate) fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

fn decode(entry: &Entry) -> Result<Option<Credential>, ()> {
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Credential::Registry(Secret::new(entry.registrytoken.clone()))));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Credential::Identity(Secret::new(entry.identitytoken.clone()))));
    }
    if entry.auth.is_empty() {
        let password = Secret::new(entry.password.clone());
        let known = !entry.username.is_empty();
        return Ok(known.then(|| Credential::Password { username: entry.username.clone(), password }));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).map_err(drop)?;
    let text = String::from_utf8(bytes).map_err(drop)?;
    let (username, password) = text.split_once(':').ok_or(())?;
    if username.is_empty() {
        return Err(());
    }
    let password = Secret::new(password.trim_end_matches('\0').to_owned());
    Ok(Some(Credential::Password { username: username.to_owned(), password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Environment {
        Environment { docker_auth_config: Some(text.to_owned()), ..Environment::default() }
    }

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password { username: username.into(), password: Secret::new(password.into()) }
    }

    fn found(text: &str, host: &str, repository: &str) -> Option<Credential> {
        find(&file(text), &Cancel::new(), host, repository).expect("the file is valid")
    }

    #[test]
    fn the_longest_key_wins() {
        // "a:1", "b:2" and "c:3".
        let text =
            r#"{"auths":{"q.io":{"auth":"YToxAAA="},"q.io/team":{"auth":"Yjoy"},"q.io/team/app":{"auth":"Yzoz"}}}"#;
        assert_eq!(found(text, "q.io", "other/app"), Some(password("a", "1")));
        assert_eq!(found(text, "q.io", "team/other"), Some(password("b", "2")));
        assert_eq!(found(text, "q.io", "team/app"), Some(password("c", "3")));
        assert_eq!(found(text, "q.io:5000", "team/app"), None);
        assert_eq!(found(text, "evil.q.io", "team/app"), None);
    }

    #[test]
    fn docker_hub_has_several_names() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io/v2/"] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"YTox"}}}}}}"#);
            assert_eq!(found(&text, "docker.io", "library/x"), Some(password("a", "1")), "{key}");
            assert_eq!(found(&text, "docker.io.evil.example", "library/x"), None, "{key}");
        }
    }

    #[test]
    fn tokens_and_plain_names_are_read() {
        let text = r#"{"auths":{"a.io":{"auth":"YTox","identitytoken":"i"},"b.io":{"registrytoken":"r"},"c.io":{"username":"u","password":"p"},"d.io":{}}}"#;
        assert_eq!(found(text, "a.io", "x"), Some(Credential::Identity(Secret::new("i".into()))));
        assert_eq!(found(text, "b.io", "x"), Some(Credential::Registry(Secret::new("r".into()))));
        assert_eq!(found(text, "c.io", "x"), Some(password("u", "p")));
        assert_eq!(found(text, "d.io", "x"), None);
    }

    #[test]
    fn errors_show_no_part_of_a_secret() {
        for text in [r#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#, r#"{"auths":{"a.io":{"auth":["hunter2"]}}}"#] {
            let error = find(&file(text), &Cancel::new(), "a.io", "x").expect_err("the file is not valid");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_missing_helper_is_an_error_and_never_another_registry() {
        let text = r#"{"credHelpers":{"a.io":"nowhere"},"auths":{"a.io":{"auth":"YTox"}}}"#;
        let error = find(&file(text), &Cancel::new(), "a.io", "x").expect_err("there is no such helper");
        assert!(matches!(error, CredentialError::HelperMissing(name) if name == "docker-credential-nowhere"));
        assert_eq!(found(text, "b.io", "x"), None);
        let escape = r#"{"credsStore":"../../bin/sh"}"#;
        assert!(matches!(find(&file(escape), &Cancel::new(), "a.io", "x"), Err(CredentialError::HelperName(_))));
    }

    #[test]
    fn helpers_are_asked() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let script = "#!/bin/sh\nread server || true\ncase $server in a.io) echo '{\"Username\":\"u\",\"Secret\":\"p\"}';; t.io) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';; n.io) echo 'credentials not found in native keychain'; exit 1;; *) exit 3;; esac\n";
        let path = folder.path().join("docker-credential-test");
        std::fs::write(&path, script).expect("the script can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("the mode can be set");
        let mut environment = file(r#"{"credsStore":"test","auths":{"n.io":{"auth":"YTox"}}}"#);
        environment.path = Some(format!("{}:/usr/bin:/bin", folder.path().display()).into());
        let ask = |host| find(&environment, &Cancel::new(), host, "x");
        assert_eq!(ask("a.io").expect("the helper works"), Some(password("u", "p")));
        assert_eq!(ask("t.io").expect("the helper works"), Some(Credential::Identity(Secret::new("t".into()))));
        assert_eq!(ask("n.io").expect("the helper works"), Some(password("a", "1")));
        assert!(matches!(ask("b.io"), Err(CredentialError::HelperFailed { .. })));
    }

    #[test]
    fn a_helper_that_hangs_can_be_ended() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("docker-credential-hang");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 600\n").expect("the script can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("the mode can be set");
        let mut environment = file(r#"{"credsStore":"hang"}"#);
        environment.path = Some(format!("{}:/usr/bin:/bin", folder.path().display()).into());
        let cancel = Cancel::new();
        cancel.cancel();
        let error = find(&environment, &cancel, "a.io", "x").expect_err("it was told to end");
        assert!(matches!(error, CredentialError::HelperRun { .. }), "{error:?}");
    }

    #[test]
    fn files_are_looked_for_where_they_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let write = |name: &str, auth: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be made");
            std::fs::write(&path, format!(r#"{{"auths":{{"a.io":{{"auth":"{auth}"}}}}}}"#)).expect("it can be written");
        };
        let mut environment = Environment { home: Some(folder.path().to_owned()), ..Environment::default() };
        let ask =
            |environment: &Environment| find(environment, &Cancel::new(), "a.io", "x").expect("the files are valid");
        assert_eq!(ask(&environment), None);
        write(".docker/config.json", "YTox");
        assert_eq!(ask(&environment), Some(password("a", "1")));
        write(".config/containers/auth.json", "Yjoy");
        assert_eq!(ask(&environment), Some(password("b", "2")));
        write("explicit.json", "Yzoz");
        environment.registry_auth_file = Some(folder.path().join("explicit.json"));
        assert_eq!(ask(&environment), Some(password("c", "3")));
        environment.registry_auth_file = Some(folder.path().join("missing.json"));
        assert!(matches!(find(&environment, &Cancel::new(), "a.io", "x"), Err(CredentialError::Read { .. })));
    }
}
