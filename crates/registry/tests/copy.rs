//! Copies between repositories: what is mounted, what goes through, what is refused.

mod support;

use std::sync::Arc;

use stave_oci::{BlobDigest, Descriptor, Index, media_type};
use stave_registry::{PushProgress, RegistryError};
use stave_testkit::LoopbackRegistry;
use stave_testkit::http::Response;
use support::image::{Image, noise};
use support::{Bench, reference, shown};

fn silent(_: &Descriptor, _: PushProgress) {}

/// A registry with an index of two images as `team/app:1`, and that index.
fn source() -> (LoopbackRegistry, BlobDigest, [Image; 2]) {
    let registry = LoopbackRegistry::start();
    let images = [Image::new(&[noise(1, 700_000), noise(2, 10)]), Image::new(&[noise(3, 700_000), noise(2, 10)])];
    let name = reference(&format!("{}/team/app:1", registry.host()));
    let bench = Bench::new();
    for image in &images {
        bench.client().push(&name, &image.push(), &silent).expect("the push works");
    }
    let entries = images
        .iter()
        .map(|image| Descriptor::new(media_type::OCI_MANIFEST, image.digest(), image.manifest_bytes.len() as u64));
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: entries.collect(),
        annotations: std::collections::BTreeMap::default(),
    };
    let bytes = serde_json::to_vec(&index).expect("an index is JSON");
    registry.put_manifest("team/app", "1", media_type::OCI_INDEX, &bytes);
    drop(registry.take_log());
    (registry, BlobDigest::of(&bytes), images)
}

fn uploads(registry: &LoopbackRegistry) -> usize {
    let log = registry.take_log();
    log.iter().filter(|line| line.starts_with("PUT ") && line.contains("/blobs/uploads/")).count()
}

#[test]
fn within_a_registry_no_blob_moves() {
    let (registry, digest, images) = source();
    let (from, to) =
        (reference(&format!("{}/team/app", registry.host())), reference(&format!("{}/release/app", registry.host())));
    let client = Arc::new(Bench::new().client());
    client.copy(&from, digest, &to, &silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(uploads(&registry), 0);
    assert!(registry.manifest("release/app", &digest.to_string()).is_some());
    assert!(images.iter().all(|image| registry.has("release/app", &image.manifest.layers[0].digest)));
    assert!(registry.manifest("release/app", "1").is_none(), "a copy gets no tag by itself");
    // What is there already is only asked for.
    client.copy(&from, digest, &to, &silent).expect("it is there");
    assert_eq!(registry.take_log(), [format!("HEAD /v2/release/app/manifests/{digest}")]);
}

#[test]
fn to_another_registry_everything_goes_through_once() {
    let (registry, digest, images) = source();
    let target = LoopbackRegistry::start();
    let (from, to) =
        (reference(&format!("{}/team/app", registry.host())), reference(&format!("{}/app", target.host())));
    let client = Arc::new(Bench::new().client());
    client.copy(&from, digest, &to, &silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(uploads(&target), 4, "the small layer and the configuration are shared");
    assert_eq!(target.blob(&images[0].manifest.layers[0].digest.to_string()), Some(noise(1, 700_000)));
}

#[test]
fn a_registry_that_mounts_nothing_gets_the_blobs_from_itself() {
    let (registry, digest, images) = source();
    registry.fail(|request| request.query_value("mount").map(|_| Response::status(405)));
    let (from, to) =
        (reference(&format!("{}/team/app", registry.host())), reference(&format!("{}/release/app", registry.host())));
    let mut bench = Bench::new();
    // One slot each way: neither waits for the other.
    bench.limits.transfers_per_server_max = 1;
    Arc::new(bench.client()).copy(&from, digest, &to, &silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert!(images.iter().all(|image| registry.has("release/app", &image.manifest.layers[0].digest)));
}

/// A19.
#[test]
fn a_blob_that_is_not_what_its_digest_says_is_not_copied() {
    let (registry, digest, images) = source();
    let layer = images[0].manifest.layers[0].digest;
    let mut bytes = noise(1, 700_000);
    bytes[500_000] ^= 1;
    registry.replace_blob(&layer, bytes);
    let target = LoopbackRegistry::start();
    let (from, to) =
        (reference(&format!("{}/team/app", registry.host())), reference(&format!("{}/app", target.host())));
    let error = Arc::new(Bench::new().client()).copy(&from, digest, &to, &silent).expect_err("it is damaged");
    assert!(matches!(error, RegistryError::Source { .. } | RegistryError::Http(_)), "{error:?}");
    assert!(!target.has("app", &layer) && target.manifest("app", &digest.to_string()).is_none());
}

#[test]
fn a_source_that_breaks_off_is_taken_up_where_it_broke() {
    let (registry, digest, images) = source();
    let layer = images[0].manifest.layers[0].digest;
    let path = format!("/v2/team/app/blobs/{layer}");
    let broken = std::sync::atomic::AtomicBool::new(false);
    registry.fail(move |request| {
        let first =
            request.method == "GET" && request.path == path && !broken.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then(|| Response { cut_after: Some(300_000), ..Response::body(200, "x/y", noise(1, 700_000)) })
    });
    let target = LoopbackRegistry::start();
    let (from, to) =
        (reference(&format!("{}/team/app", registry.host())), reference(&format!("{}/app", target.host())));
    Arc::new(Bench::new().client())
        .copy(&from, digest, &to, &silent)
        .unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(target.blob(&layer.to_string()), Some(noise(1, 700_000)));
}
