#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]
//! Pull and push against Debian's `docker-registry`, started here on a free port with its own folder.

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use stave_oci::{Descriptor, Reference, media_type};
use stave_registry::{Client, Config, Limits, PushImage, PushIndex, PushProgress, RegistryError};
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

/// T9: an index, its images found by platform; blobs mounted from another repository; tags listed.
#[test]
fn an_index_goes_there_and_to_another_repository_without_moving_a_blob() {
    let Some(registry) = start(None) else { return };
    let images = [Image::new(&[noise(11, 100_000), noise(12, 10)]), Image::new(&[noise(11, 100_000), noise(13, 10)])];
    let entries = images.iter().zip(["linux/amd64", "linux/arm64"]).map(|(image, platform)| {
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, image.digest(), image.manifest_bytes.len() as u64);
        entry.platform = Some(platform.parse().expect("the platform is valid"));
        entry
    });
    let index = stave_oci::Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: entries.collect(),
        annotations: std::collections::BTreeMap::default(),
    };
    let index = PushIndex {
        index_bytes: serde_json::to_vec(&index).expect("an index is JSON"),
        media_type: media_type::OCI_INDEX.to_owned(),
        images: images.iter().map(Image::push).collect(),
    };
    let name = reference(&registry, "team/multi:1");
    let digest = client().push_index(&name, &index, &|_, _| ()).expect("the push works");
    for (platform, image) in ["linux/amd64", "linux/arm64"].into_iter().zip(&images) {
        let found = client().resolve(&name, &platform.parse().expect("valid")).expect("the platform is there");
        assert_eq!((found.digest, found.index_digest), (image.digest(), Some(digest)));
    }

    let client = std::sync::Arc::new(client());
    let (other, sent) = (reference(&registry, "release/multi:2"), Mutex::new(Vec::new()));
    client
        .copy(&name, digest, &other, &|blob, progress| {
            if !matches!(progress, PushProgress::Mounted | PushProgress::Exists) {
                sent.lock().expect("no test thread panics").push(blob.digest);
            }
        })
        .expect("the copy works");
    assert_eq!(*sent.lock().expect("no test thread panics"), []);
    client.put_manifest(&other, &index.index_bytes, &index.media_type).expect("the tag is set");
    assert_eq!(client.tags(&other).expect("a list"), ["2"]);
    assert_eq!(client.manifest(&other).expect("it is there").digest, digest);
}

/// The referrers' tag, since this registry has no list of its own, or its list, if it does.
#[test]
fn what_is_attached_is_found_again() {
    let Some(registry) = start(None) else { return };
    let (image, name) = (Image::new(&[noise(14, 100)]), reference(&registry, "app:1"));
    push(&client(), &name, &image).expect("the push works");
    let config = b"{}".to_vec();
    let describe =
        |kind: &str, bytes: &[u8]| Descriptor::new(kind, stave_oci::BlobDigest::of(bytes), bytes.len() as u64);
    let described = describe("application/vnd.oci.empty.v1+json", &config);
    let attach = |text: &str| {
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "text/plain",
            "config": described, "layers": [described], "annotations": { "text": text },
            "subject": describe(media_type::OCI_MANIFEST, &image.manifest_bytes),
        });
        let open: stave_registry::OpenBlob =
            Box::new(|| Ok(Box::new(std::io::Cursor::new(b"{}".to_vec())) as Box<dyn std::io::Read + Send>));
        let artifact = PushImage {
            manifest_bytes: manifest.to_string().into_bytes(),
            media_type: media_type::OCI_MANIFEST.to_owned(),
            blobs: vec![(described.clone(), open)],
        };
        client().push_referrer(&name, &artifact).expect("it is attached")
    };
    let mut attached: Vec<_> = ["a", "b", "c"].map(attach).into();
    attached.sort();
    let found = client().referrers(&name, &image.digest(), Some("text/plain")).expect("a list");
    let mut found: Vec<_> = found.iter().map(|entry| entry.digest).collect();
    found.sort();
    assert_eq!(found, attached);
}
