//! What is attached to an image, by registries that list it and by those that do not.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stave_oci::{BlobDigest, Descriptor, media_type};
use stave_registry::{Client, Config, Limits, PushImage, RegistryError};
use stave_testkit::LoopbackRegistry;
use stave_testkit::http::Response;
use support::image::{Image, noise};
use support::server::{Answer, Server};
use support::{Bench, reference, shown};

const SBOM: &str = "application/spdx+json";

fn client() -> Client {
    Client::new(Config::default(), Limits::default())
}

/// A manifest of `kind` that is attached to `subject`; its one blob has `text`.
fn attached(subject: &Image, kind: &str, text: &str) -> PushImage {
    let empty = b"{}".to_vec();
    let blob = text.as_bytes().to_vec();
    let describe = |kind: &str, bytes: &[u8]| Descriptor::new(kind, BlobDigest::of(bytes), bytes.len() as u64);
    let (config, layer) = (describe("application/vnd.oci.empty.v1+json", &empty), describe(kind, &blob));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": config, "layers": [layer],
        "subject": { "mediaType": media_type::OCI_MANIFEST, "digest": subject.digest(), "size": subject.manifest_bytes.len() },
        "annotations": { "note": text },
    });
    let open = |bytes: Vec<u8>| -> stave_registry::OpenBlob {
        Box::new(move || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn std::io::Read + Send>))
    };
    PushImage {
        manifest_bytes: manifest.to_string().into_bytes(),
        media_type: media_type::OCI_MANIFEST.to_owned(),
        blobs: vec![(config, open(empty)), (layer, open(blob))],
    }
}

fn image() -> Image {
    Image::new(&[noise(4, 100)])
}

fn pushed(registry: &LoopbackRegistry, image: &Image) -> stave_oci::Reference {
    let name = reference(&format!("{}/team/app:1", registry.host()));
    client().push(&name, &image.push(), &|_, _| ()).expect("the push works");
    name
}

fn listed(registry: &LoopbackRegistry, image: &Image) -> Value {
    let tag = format!("sha256-{}", image.digest().hex());
    let bytes = registry.manifest("team/app", &tag).expect("the tag is there");
    serde_json::from_slice(&bytes).expect("the list is JSON")
}

#[test]
fn what_is_attached_is_listed_by_kind() {
    for forgetful in [false, true] {
        let registry = LoopbackRegistry::start();
        if forgetful {
            registry.forget_referrers();
        }
        let image = image();
        let name = pushed(&registry, &image);
        let client = client();
        assert_eq!(client.referrers(&name, &image.digest(), None).expect("an empty list"), []);
        let digest = client.push_referrer(&name, &attached(&image, SBOM, "one")).expect("it is attached");
        client.push_referrer(&name, &attached(&image, "application/vnd.in-toto+json", "two")).expect("it is attached");
        let all = client.referrers(&name, &image.digest(), None).expect("a list");
        assert_eq!(all.len(), 2, "{all:?}");
        let sboms = client.referrers(&name, &image.digest(), Some(SBOM)).expect("a list");
        let found: Vec<_> = sboms
            .iter()
            .map(|entry| (entry.digest, entry.artifact_type.as_str(), entry.annotations["note"].as_str()))
            .collect();
        assert_eq!(found, [(digest, SBOM, "one")], "forgetful: {forgetful}");
        assert_eq!(registry.manifest("team/app", &format!("sha256-{}", image.digest().hex())).is_some(), forgetful);

        // What the list leads to can be fetched, and the subject has not changed.
        let mut by_digest = name.clone();
        by_digest.digest = Some(digest);
        let found = client.manifest(&by_digest).expect("the manifest is there");
        let stave_oci::Document::Manifest(manifest) = &found.document else { panic!("it is a manifest") };
        let mut blob = Vec::new();
        client.fetch_part(&found.source, &manifest.layers[0], &mut blob, &|_| ()).expect("the blob is there");
        assert_eq!(blob, b"one");
        assert_eq!(registry.manifest("team/app", "1"), Some(image.manifest_bytes.clone()));
        // The same again changes nothing.
        client.push_referrer(&name, &attached(&image, SBOM, "one")).expect("it is attached");
        assert_eq!(client.referrers(&name, &image.digest(), None).expect("a list").len(), 2);
    }
}

#[test]
fn two_that_attach_at_once_lose_nothing() {
    let registry = LoopbackRegistry::start();
    registry.forget_referrers();
    // Without this it is a matter of time, which no test has in its hands.
    registry.honour_conditions();
    let image = image();
    let name = pushed(&registry, &image);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (name, image) = (&name, &image);
            scope.spawn(move || {
                let client = client();
                for round in 0..3 {
                    let artifact = attached(image, SBOM, &format!("{number}.{round}"));
                    client.push_referrer(name, &artifact).unwrap_or_else(|error| panic!("{}", shown(&error)));
                }
            });
        }
    });
    assert_eq!(client().referrers(&name, &image.digest(), Some(SBOM)).expect("a list").len(), 12);
}

#[test]
fn an_entry_that_another_overwrote_is_written_again() {
    let (bench, image) = (Bench::new(), image());
    let registry = LoopbackRegistry::start();
    registry.forget_referrers();
    let name = pushed(&registry, &image);
    let registry = Arc::new(registry);
    let tag = format!("sha256-{}", image.digest().hex());
    // Somebody who read the list earlier writes it right after our first write: without our entry.
    registry.put_manifest("team/app", "other", media_type::OCI_MANIFEST, b"other");
    let (other, writes, of_tag) = (BlobDigest::of(b"other"), AtomicUsize::new(0), format!("/manifests/{tag}"));
    let their = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        { "mediaType": media_type::OCI_MANIFEST, "digest": other, "size": 5, "unknown": "kept" } ] });
    let (weak, bytes) = (Arc::downgrade(&registry), their.to_string().into_bytes());
    registry.fail(move |request| {
        let first =
            request.method == "PUT" && request.path.ends_with(&of_tag) && writes.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| {
            let registry = weak.upgrade().expect("the test has it");
            registry.put_manifest("team/app", &tag, media_type::OCI_INDEX, &bytes);
            Response::status(201)
        })
    });
    let artifact = attached(&image, SBOM, "mine");
    let digest = bench.client().push_referrer(&name, &artifact).expect("it is attached");
    let list = listed(&registry, &image);
    let entries = list["manifests"].as_array().expect("it is a list");
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(entries[0], their["manifests"][0]);
    assert_eq!(entries[1]["digest"], digest.to_string());
    assert_eq!(bench.clock.slept().len(), 2, "it was looked at after each write");
}

#[test]
fn a_registry_that_knows_conditions_is_asked_for_them() {
    let (bench, image) = (Bench::new(), image());
    let registry = LoopbackRegistry::start();
    registry.forget_referrers();
    let name = pushed(&registry, &image);
    bench.client().push_referrer(&name, &attached(&image, SBOM, "first")).expect("it is attached");
    let conditions = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, tag) = (conditions.clone(), format!("/manifests/sha256-{}", image.digest().hex()));
    let current = serde_json::to_vec(&listed(&registry, &image)).expect("it is JSON");
    registry.fail(move |request| {
        if !request.path.ends_with(&tag) {
            return None;
        }
        let condition = request.header("if-match").unwrap_or_default().to_owned();
        let mut seen = seen.lock().expect("no test thread panics");
        match request.method.as_str() {
            "PUT" if seen.is_empty() => {
                seen.push(condition);
                Some(Response::status(412))
            }
            "GET" if seen.is_empty() => {
                Some(Response::body(200, media_type::OCI_INDEX, current.clone()).with("ETag", "\"v1\""))
            }
            _ => None,
        }
    });
    bench.client().push_referrer(&name, &attached(&image, SBOM, "second")).expect("it is attached");
    assert_eq!(*conditions.lock().expect("no test thread panics"), ["\"v1\""]);
    assert_eq!(listed(&registry, &image)["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_can_be_attached_to_nothing_is_refused() {
    let registry = LoopbackRegistry::start();
    let image = image();
    let name = pushed(&registry, &image);
    let error = client().push_referrer(&name, &image.push()).expect_err("it has no subject");
    assert!(matches!(error, RegistryError::NoSubject { .. }), "{error:?}");
    // The tag of the list may be somebody's image: it is not overwritten.
    registry.forget_referrers();
    let tag = format!("sha256-{}", image.digest().hex());
    registry.put_manifest("team/app", &tag, media_type::OCI_MANIFEST, &image.manifest_bytes);
    let error = client().push_referrer(&name, &attached(&image, SBOM, "x")).expect_err("the tag is taken");
    assert!(matches!(error, RegistryError::ReferrersTag { .. }), "{error:?}");
    assert_eq!(registry.manifest("team/app", &tag), Some(image.manifest_bytes));
}

#[test]
fn lists_are_read_page_by_page_and_end() {
    let bench = Bench::new();
    let entry = |number: usize| Descriptor::new(media_type::OCI_MANIFEST, BlobDigest::of(&number.to_le_bytes()), 1);
    let page = move |numbers: std::ops::Range<usize>| {
        json!({ "schemaVersion": 2, "manifests": numbers.map(entry).collect::<Vec<_>>() }).to_string()
    };
    let subject = BlobDigest::of(b"subject");
    let server = Server::start(move |asked| {
        let answer = |text: String| Answer::new(200, text).header("content-type", media_type::OCI_INDEX);
        match asked.target.split_once("?page=").map(|(_, number)| number) {
            _ if asked.target == "/v2/" => Answer::new(200, ""),
            _ if asked.target.contains("/endless/") => {
                let number: usize =
                    asked.target.split_once("?page=").map_or(0, |(_, number)| number.parse().expect("a number"));
                answer(page(number..number + 1000)).header("link", format!("<?page={}>; rel=\"next\"", number + 1000))
            }
            // A list that leads to another server ends there.
            Some("2") => answer(page(2..4)).header("link", "<http://evil.test/x>; rel=\"next\""),
            Some(_) => Answer::new(404, ""),
            None => answer(page(0..2)).header("link", format!("<{}?page=2>; rel=\"next\"", asked.target)),
        }
    });
    let name = |repository: &str| reference(&format!("{}/{repository}", server.address));
    let found = bench.client().referrers(&name("app"), &subject, None).expect("a list");
    assert_eq!(found, (0..4).map(entry).collect::<Vec<_>>());
    let error = bench.client().referrers(&name("endless"), &subject, None).expect_err("it does not end");
    assert!(matches!(error, RegistryError::TooMany { .. }), "{error:?}");
}

#[test]
fn an_answer_that_is_no_list_means_an_old_registry() {
    for (kind, body) in
        [("text/html", "<html>"), (media_type::OCI_MANIFEST, "{}"), (media_type::OCI_INDEX, "{\"schemaVersion\":1}")]
    {
        let (bench, image) = (Bench::new(), image());
        let registry = LoopbackRegistry::start();
        registry.forget_referrers();
        let name = pushed(&registry, &image);
        registry.fail(move |request| request.path.contains("/referrers/").then(|| Response::body(200, kind, body)));
        let digest = bench.client().push_referrer(&name, &attached(&image, SBOM, "x")).expect("it is attached");
        let found = bench.client().referrers(&name, &image.digest(), None).expect("a list");
        assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [digest], "{kind}");
    }
}

#[test]
fn tags_are_listed_and_names_that_are_none_left_out() {
    let bench = Bench::new();
    let server = Server::start(|asked| match asked.target.as_str() {
        "/v2/app/tags/list?n=1000" => Answer::new(200, r#"{"name":"app","tags":["1","v2.0_x","../x","a/b",""]}"#)
            .header("link", "</v2/app/tags/list?last=x>; rel=\"next\""),
        "/v2/app/tags/list?last=x" => Answer::new(200, r#"{"tags":["zz"]}"#),
        "/v2/none/tags/list?n=1000" => Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#),
        "/v2/empty/tags/list?n=1000" => Answer::new(200, r#"{"name":"empty","tags":null}"#),
        _ => Answer::new(200, ""),
    });
    let tags = |name: &str| bench.client().tags(&reference(&format!("{}/{name}", server.address)));
    assert_eq!(tags("app").expect("a list"), ["1", "v2.0_x", "zz"]);
    assert_eq!(tags("empty").expect("a list"), [""; 0]);
    assert!(matches!(tags("none"), Err(RegistryError::NotFound { .. })));
}
