#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]
//! Pull and push against Debian's `docker-registry`, started here on a free port with its own folder.

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use stave_oci::{Descriptor, Reference};
use stave_registry::{Client, Config, Limits, PushProgress, RegistryError};
use support::amd64;
use support::image::{Image, noise};

struct Registry {
    process: Child,
    address: String,
    log: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().expect("the registry can be stopped");
        self.process.wait().expect("the registry was started");
        self.log.take().map(std::thread::JoinHandle::join);
    }
}

/// Starts a registry; nothing, if the program is not installed.
fn start(auth: Option<&str>) -> Option<Registry> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let root = folder.path().display();
    let mut config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:0', secret: x}}\n"
    );
    if let Some(htpasswd) = auth {
        std::fs::write(folder.path().join("htpasswd"), htpasswd).expect("the file can be written");
        config.extend(["auth: {htpasswd: {realm: test, path: ", &root.to_string(), "/htpasswd}}\n"]);
    }
    let path = folder.path().join("config.yml");
    std::fs::write(&path, config).expect("the file can be written");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => {
            eprintln!("skipped: cannot start docker-registry: {error}");
            return None;
        }
    };
    let mut log = BufReader::new(process.stderr.take().expect("it was asked for"));
    let mut address = None;
    let mut line = String::new();
    while address.is_none() && log.read_line(&mut line).expect("the log can be read") > 0 {
        let found = line.split("listening on ").nth(1);
        address = found.map(|rest| rest.split(['"', ' ', '\n']).next().expect("there is a first part").to_owned());
        line.clear();
    }
    let address = address.expect("the registry says where it listens");
    let log = std::thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
    Some(Registry { process, address, log: Some(log), _folder: folder })
}

fn client() -> Client {
    Client::new(Config::default(), Limits::default())
}

fn reference(registry: &Registry, rest: &str) -> Reference {
    support::reference(&format!("{}/{rest}", registry.address))
}

/// Pushes and returns what happened to each blob in the end.
fn push(client: &Client, reference: &Reference, image: &Image) -> Result<Vec<PushProgress>, RegistryError> {
    let seen: Mutex<Vec<(Descriptor, PushProgress)>> = Mutex::default();
    client.push(reference, &image.push(), &|blob, progress| {
        let mut seen = seen.lock().expect("no test thread panics");
        seen.retain(|(known, _)| known.digest != blob.digest);
        seen.push((blob.clone(), progress));
    })?;
    Ok(seen.into_inner().expect("no test thread panics").into_iter().map(|(_, progress)| progress).collect())
}

#[test]
fn what_was_pushed_is_pulled_and_never_sent_twice() {
    let Some(registry) = start(None) else { return };
    let image = Image::new(&[noise(1, 3_000_000), noise(2, 10), Vec::new()]);
    let first = reference(&registry, "team/app:1");
    assert_eq!(push(&client(), &first, &image).expect("the push works"), [PushProgress::Done; 4]);

    let client = client();
    let resolved = client.resolve(&first, &amd64()).expect("the image is there");
    assert_eq!(resolved.manifest, image.manifest);
    assert_eq!(resolved.manifest_bytes, image.manifest_bytes);
    assert_eq!(resolved.digest, image.digest());
    assert_eq!(resolved.config_bytes, image.blobs[0]);
    for (layer, bytes) in image.manifest.layers.iter().zip(&image.blobs[1..]) {
        let mut fetched = Vec::new();
        let last = Mutex::new(0);
        client
            .fetch_blob(&resolved, layer, &mut fetched, &|now| *last.lock().expect("no test thread panics") = now)
            .expect("the layer is there");
        assert_eq!(&fetched, bytes);
        assert_eq!(last.into_inner().expect("no test thread panics"), layer.size);
    }

    let second = reference(&registry, "team/app:2");
    assert_eq!(push(&client, &second, &image).expect("the push works"), [PushProgress::Exists; 4]);
    let by_digest = reference(&registry, &format!("team/app@{}", image.digest()));
    assert_eq!(client.resolve(&by_digest, &amd64()).expect("the image is there").manifest, image.manifest);
}

#[test]
fn what_is_not_there_is_said_so() {
    let Some(registry) = start(None) else { return };
    let error = client().resolve(&reference(&registry, "team/none:x"), &amd64()).expect_err("there is no such image");
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("team/none:x` does not exist at http://127.0.0.1:") && text.contains("MANIFEST_UNKNOWN"),
        "{text}"
    );
}

#[test]
fn credentials_are_found_and_used() {
    // The password is `secret`, hashed with a cost of 4.
    let Some(registry) = start(Some("me:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n")) else {
        return;
    };
    let image = Image::new(&[noise(3, 100)]);
    let name = reference(&registry, "app:1");
    let error = push(&client(), &name, &image).expect_err("nobody may push");
    assert!(matches!(error, RegistryError::Denied { with_credentials: false, .. }), "{error:?}");

    let with = |auth: &str| {
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
        let environment = stave_registry::Environment {
            docker_auth_config: Some(text),
            http: stave_http::Environment { etc: Some("/nonexistent".into()), ..Default::default() },
            ..Default::default()
        };
        Client::new(Config::load(&environment).expect("the configuration is valid"), Limits::default())
    };
    let error = push(&with("bWU6d3Jvbmc="), &name, &image).expect_err("the password is wrong");
    assert!(matches!(error, RegistryError::Denied { with_credentials: true, .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wrong"), "{error:?}");
    push(&with("bWU6c2VjcmV0"), &name, &image).expect("the password is right");
}
