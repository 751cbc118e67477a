//! Pushes: what is asked, what is sent, and what is taken from elsewhere.

mod support;

use std::sync::Mutex;

use stave_oci::{BlobDigest, Index, Platform, media_type};
use stave_registry::{Client, Config, Limits, PushIndex, PushProgress, RegistryError};
use stave_testkit::LoopbackRegistry;
use support::image::{Image, noise};
use support::{Bench, reference, shown};

fn client() -> Client {
    Client::new(Config::default(), Limits::default())
}

fn silent(_: &stave_oci::Descriptor, _: PushProgress) {}

/// The requests but for the search for TLS, with uploads' addresses shortened, sorted.
fn asked(registry: &LoopbackRegistry) -> Vec<String> {
    let mut lines: Vec<String> = registry.take_log();
    lines.retain(|line| !line.ends_with(" /v2/") && !line.is_empty() && line.contains("/v2/"));
    for line in &mut lines {
        if let Some(at) = line.find("/blobs/uploads/") {
            line.truncate(at + "/blobs/uploads/".len());
        }
    }
    lines.sort();
    lines
}

#[test]
fn one_new_layer_costs_one_question_per_blob_and_that_layer() {
    let registry = LoopbackRegistry::start();
    let base: Vec<Vec<u8>> = (0..6).map(|seed| noise(seed, 200_000)).collect();
    let old = Image::new(&base);
    let name = reference(&format!("{}/team/app:1", registry.host()));
    client().push(&name, &old.push(), &silent).expect("the push works");
    drop(registry.take_log());

    let mut layers = base.clone();
    layers.push(noise(99, 100));
    let new = Image::new(&layers);
    client().push(&name, &new.push(), &silent).expect("the push works");
    let mut expected: Vec<String> = std::iter::once(&new.manifest.config)
        .chain(&new.manifest.layers)
        .map(|blob| format!("HEAD /v2/team/app/blobs/{}", blob.digest))
        .collect();
    expected.extend(
        [
            "HEAD /v2/team/app/manifests/1",
            "POST /v2/team/app/blobs/uploads/",
            "PUT /v2/team/app/blobs/uploads/",
            "PUT /v2/team/app/manifests/1",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(asked(&registry), expected);
}

#[test]
fn an_unchanged_image_costs_questions_alone_and_a_second_tag_only_its_own() {
    let registry = LoopbackRegistry::start();
    let image = Image::new(&[noise(1, 1000)]);
    let named = |tag: &str| reference(&format!("{}/app:{tag}", registry.host()));
    client().push(&named("1"), &image.push(), &silent).expect("the push works");
    drop(registry.take_log());
    let client = client();
    client.push(&named("1"), &image.push(), &silent).expect("the push works");
    assert!(asked(&registry).iter().all(|line| line.starts_with("HEAD ")));
    client.push(&named("2"), &image.push(), &silent).expect("the push works");
    assert_eq!(asked(&registry), ["HEAD /v2/app/manifests/2", "PUT /v2/app/manifests/2"]);
}

fn index_of(images: &[(&Image, &str)]) -> Vec<u8> {
    let manifests = images.iter().map(|(image, platform)| {
        let mut entry =
            stave_oci::Descriptor::new(&image.manifest.media_type, image.digest(), image.manifest_bytes.len() as u64);
        entry.platform = Some(platform.parse::<Platform>().expect("the platform is valid"));
        entry
    });
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: manifests.collect(),
        annotations: std::collections::BTreeMap::default(),
    };
    serde_json::to_vec(&index).expect("an index is JSON")
}

#[test]
fn an_index_is_pushed_with_its_images_and_found_by_platform() {
    let registry = LoopbackRegistry::start();
    let shared = noise(5, 5000);
    let (one, two) = (Image::new(&[shared.clone(), noise(1, 10)]), Image::new(&[shared, noise(2, 10)]));
    let bytes = index_of(&[(&one, "linux/amd64"), (&two, "linux/arm64")]);
    let index = PushIndex {
        index_bytes: bytes.clone(),
        media_type: media_type::OCI_INDEX.to_owned(),
        images: vec![one.push(), two.push()],
    };
    let name = reference(&format!("{}/multi:1", registry.host()));
    let digest = client().push_index(&name, &index, &silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(digest, BlobDigest::of(&bytes));
    assert_eq!(registry.manifest("multi", "1"), Some(bytes));
    let lines = asked(&registry);
    let puts: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("PUT") && line.contains("manifests")).collect();
    assert_eq!(puts.len(), 3, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST")).count(), 4, "shared blobs go once: {lines:?}");

    for (platform, image) in [("linux/amd64", &one), ("linux/arm64/v8", &two)] {
        let found = client().resolve(&name, &platform.parse().expect("valid")).expect("the platform is there");
        assert_eq!((found.digest, found.index_digest), (image.digest(), Some(digest)), "{platform}");
    }
}

#[test]
fn an_index_is_pushed_by_its_digest_alone() {
    let registry = LoopbackRegistry::start();
    let image = Image::new(&[noise(1, 10)]);
    let index_bytes = index_of(&[(&image, "linux/amd64")]);
    let digest = BlobDigest::of(&index_bytes);
    let push = |index_bytes: Vec<u8>| {
        let name = reference(&format!("{}/app@{digest}", registry.host()));
        let index = PushIndex { index_bytes, media_type: media_type::OCI_INDEX.to_owned(), images: vec![image.push()] };
        client().push_index(&name, &index, &silent)
    };
    assert_eq!(push(index_bytes.clone()).expect("the push works"), digest);
    assert!(registry.manifest("app", "latest").is_none() && registry.manifest("app", &digest.to_string()).is_some());
    let other = [index_bytes, b" ".to_vec()].concat();
    assert!(matches!(push(other), Err(RegistryError::PushDigest { .. })));
}

#[test]
fn what_another_repository_of_the_registry_has_is_taken_from_there() {
    let registry = LoopbackRegistry::start();
    let base = noise(1, 300_000);
    let parent = Image::new(std::slice::from_ref(&base));
    let parents_name = reference(&format!("{}/library/base:1", registry.host()));
    client().push(&parents_name, &parent.push(), &silent).expect("the push works");
    drop(registry.take_log());

    let child = Image::new(&[base, noise(2, 10)]);
    let client = client();
    client.remember(&parents_name, parent.manifest.layers.iter().map(|layer| layer.digest));
    let seen = Mutex::new(Vec::new());
    let name = reference(&format!("{}/team/app:1", registry.host()));
    client
        .push(&name, &child.push(), &|blob, progress| {
            if !matches!(progress, PushProgress::Sent(_)) {
                seen.lock().expect("no test thread panics").push((blob.digest, progress));
            }
        })
        .unwrap_or_else(|error| panic!("{}", shown(&error)));
    let seen = seen.into_inner().expect("no test thread panics");
    assert!(seen.contains(&(child.manifest.layers[0].digest, PushProgress::Mounted)), "{seen:?}");
    assert!(seen.contains(&(child.manifest.layers[1].digest, PushProgress::Done)), "{seen:?}");
    assert!(registry.has("team/app", &child.manifest.layers[0].digest));
    let lines = asked(&registry);
    assert_eq!(lines.iter().filter(|line| line.starts_with("PUT") && line.contains("uploads")).count(), 2, "{lines:?}");
}

#[test]
fn a_mount_that_is_refused_is_an_upload() {
    for status in [202, 400, 401, 403, 404, 405] {
        let bench = Bench::new();
        let registry = LoopbackRegistry::start();
        registry.fail(move |request| {
            let mount = request.query_value("mount").is_some() && status != 202;
            mount.then(|| stave_testkit::http::Response::status(status).with("WWW-Authenticate", "Basic realm=\"x\""))
        });
        let image = Image::new(&[noise(1, 100), noise(2, 100)]);
        let client = bench.client();
        client.remember(
            &reference(&format!("{}/not/there:1", registry.host())),
            image.manifest.layers.iter().map(|layer| layer.digest),
        );
        let name = reference(&format!("{}/team/app:1", registry.host()));
        client.push(&name, &image.push(), &silent).unwrap_or_else(|error| panic!("{status}: {}", shown(&error)));
        assert!(registry.manifest("team/app", "1").is_some());
    }
}

#[test]
fn the_token_for_a_mount_may_read_the_other_repository() {
    use support::server::{Answer, Server};
    let bench = Bench::new();
    let image = Image::new(&[noise(1, 100)]);
    let layer = image.manifest.layers[0].digest.to_string();
    let server = Server::start(move |asked| {
        if asked.target.starts_with("/token") {
            let wide = asked.target.contains("scope=repository%3Alibrary%2Fbase%3Apull");
            return Answer::new(200, format!(r#"{{"token":"{}"}}"#, if wide { "wide" } else { "narrow" }));
        }
        let shown = asked.header("authorization");
        let mount = asked.target.contains("mount=");
        if asked.target != "/v2/" && (shown.is_empty() || mount && shown != "Bearer wide") {
            let scope = if mount {
                "repository:app:pull,push repository:library/base:pull"
            } else {
                "repository:app:pull,push"
            };
            let challenge =
                format!("Bearer realm=\"http://{}/token\",service=\"s\",scope=\"{scope}\"", asked.header("host"));
            return Answer::new(401, "").header("www-authenticate", challenge);
        }
        match asked.method.as_str() {
            "HEAD" => Answer::new(if asked.target == "/v2/" { 200 } else { 404 }, ""),
            "POST" if mount && asked.target.contains(&layer.replace(':', "%3A")) => Answer::new(201, ""),
            "POST" => Answer::new(202, "").header("location", "/upload/1"),
            _ => Answer::new(201, ""),
        }
    });
    let client = bench.client();
    client.remember(&reference(&format!("{}/library/base", server.address)), [image.manifest.layers[0].digest]);
    let name = reference(&format!("{}/app:1", server.address));
    client.push(&name, &image.push(), &silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    let puts = server.lines().iter().filter(|line| line.starts_with("PUT /upload")).count();
    assert_eq!(puts, 1, "only the configuration is sent: {:?}", server.lines());
}
