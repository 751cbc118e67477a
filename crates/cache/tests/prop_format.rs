//! What is written is what is read, in each of the documents; and nothing that is read makes the reader fail.

use proptest::collection::vec;
use proptest::prelude::*;
use stave_cache::document::{self, Document, Form};
use stave_cache::format::{CacheConfig, InputEntry, RecordNote};
use stave_cache::{Catalog, Layer, NewRecord};
use stave_oci::{BlobDigest, DiffId, Platform, media_type};

fn layer(number: u8) -> Layer {
    Layer {
        blob: BlobDigest::of(&[b'b', number]),
        size: u64::from(number) + 1,
        media_type: media_type::OCI_LAYER_GZIP.to_owned(),
        diff_id: DiffId::of(&[b'd', number]),
        created: Some(i64::from(number) * 1000),
        bytes: 7,
    }
}

fn digest(number: u8) -> BlobDigest {
    BlobDigest::of(&[b'r', number])
}

prop_compose! {
    fn record()(number in 0_u8..24, inputs in vec(0_u8..24, 0..3), layers in vec(0_u8..12, 0..5), used in 0_i64..1000)
        -> NewRecord
    {
        NewRecord {
            digest: digest(number),
            inputs: inputs.into_iter().map(digest).collect(),
            layers: layers.into_iter().map(layer).collect(),
            created: Some(used),
            note: RecordNote { op: "op".into(), title: "RUN x".into(), used, made_of: None },
        }
    }
}

fn catalog(records: &[NewRecord]) -> Catalog {
    let mut catalog = Catalog::default();
    for record in records {
        catalog.add(record.clone());
    }
    catalog
}

/// What can be asked of a catalog.
fn answers(catalog: &Catalog) -> Vec<Option<(Vec<Layer>, Option<i64>)>> {
    let answer = |number| {
        catalog.find(&digest(number)).map(|(layers, created)| (layers.into_iter().cloned().collect(), created))
    };
    (0..24).map(answer).collect()
}

fn read(written: &document::Written) -> Catalog {
    let parsed = document::parse(&written.manifest, &Platform::host()).expect("it is a document");
    let Document::Cache { config, layers } = parsed else { panic!("it is a cache") };
    assert_eq!(config, written.config_descriptor);
    let config: CacheConfig = serde_json::from_slice(&written.config).expect("it is a configuration");
    Catalog::read(&config, &layers).expect("it is a catalog")
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(records in vec(record(), 0..20), image_manifest: bool, oci_types: bool) {
        let written = catalog(&records);
        let read = read(&document::write(&written, Form { image_manifest, oci_types }));
        let plain = |answers: Vec<Option<(Vec<Layer>, Option<i64>)>>| -> Vec<_> {
            let media_type = |layer: Layer| Layer { media_type: media_type::OCI_LAYER_GZIP.to_owned(), ..layer };
            answers.into_iter().map(|answer| answer.map(|(layers, at)| (layers.into_iter().map(media_type).collect::<Vec<_>>(), at))).collect()
        };
        prop_assert_eq!(plain(answers(&read)), plain(answers(&written)));
        prop_assert_eq!(read.len(), written.len());
    }

    #[test]
    fn a_configuration_that_says_all_itself_needs_no_manifest(records in vec(record(), 0..20)) {
        let written = catalog(&records);
        let text = serde_json::to_vec(&written.to_config(true)).expect("it is written");
        let read = Catalog::read(&serde_json::from_slice(&text).expect("it is read"), &[]).expect("it is a catalog");
        prop_assert_eq!(answers(&read), answers(&written));
    }

    /// Two machines that export to one place lose nothing, whoever comes first.
    #[test]
    fn merging_keeps_what_either_has(one in vec(record(), 0..12), other in vec(record(), 0..12)) {
        let (one, other) = (catalog(&one), catalog(&other));
        for (first, second) in [(&one, &other), (&other, &one)] {
            let mut merged = first.clone();
            merged.merge(second);
            prop_assert!(merged.has_all_of(first) && merged.has_all_of(second));
            let again = { let mut again = merged.clone(); again.merge(second); again };
            prop_assert_eq!(answers(&again), answers(&merged));
        }
    }

    #[test]
    fn trimming_keeps_what_was_used_last(records in vec(record(), 0..20), layers_max in 0_usize..20, since in 0_i64..1000) {
        let mut trimmed = catalog(&records);
        let before = answers(&trimmed);
        trimmed.trim(since, layers_max);
        prop_assert!(trimmed.layers().len() <= layers_max);
        for (number, (after, before)) in answers(&trimmed).into_iter().zip(before).enumerate() {
            if let Some(after) = after {
                prop_assert_eq!(Some(after), before);
                let number = u8::try_from(number).expect("it is small");
                prop_assert!(trimmed.note(&digest(number)).expect("it is stave's").used >= since);
            }
        }
    }

    /// T204: whatever links say, also in circles, reading ends.
    #[test]
    fn no_links_and_no_places_make_the_reader_fail(
        records in vec(record(), 1..8),
        links in vec((0_usize..8, -2_i64..10), 0..12),
        parents in vec((0_usize..8, -3_i64..12), 0..6),
    ) {
        let mut config = catalog(&records).to_config(true);
        for (record, link) in links {
            let count = config.records.len();
            config.records[record % count].inputs.push(vec![InputEntry { selector: String::new(), link }]);
        }
        for (layer, parent) in parents {
            let count = config.layers.len();
            if count > 0 {
                config.layers[layer % count].parent = parent;
            }
        }
        if let Ok(read) = Catalog::read(&config, &[]) {
            prop_assert!(answers(&read).iter().flatten().all(|(layers, _)| layers.len() <= 501));
        }
    }
}

/// A cache that buildx wrote: records of BuildKit's, a layer whose parent is left out because it is the first, and a
/// result of several inputs.
#[test]
fn a_cache_of_buildx_is_read_and_kept() {
    let (blob, diff) = (BlobDigest::of(b"blob"), DiffId::of(b"diff"));
    let config = format!(
        r#"{{"layers":[{{"blob":"{blob}","parent":-1}},{{"blob":"{}"}}],
            "records":[{{"digest":"{}"}},{{"digest":"{}","layers":[{{"layer":1,"createdAt":"2026-01-02T03:04:05.6789Z"}}],
            "inputs":[[{{"selector":"sel","link":0}}]]}}]}}"#,
        BlobDigest::of(b"upper"),
        digest(0),
        digest(1),
    );
    let descriptor = |digest: BlobDigest, diff: DiffId| {
        let mut descriptor = stave_oci::Descriptor::new(media_type::OCI_LAYER_GZIP, digest, 5);
        descriptor.annotations.insert("containerd.io/uncompressed".into(), diff.to_string());
        descriptor
    };
    let layers = [descriptor(blob, diff), descriptor(BlobDigest::of(b"upper"), DiffId::of(b"other"))];
    let theirs = Catalog::read(&serde_json::from_str(&config).expect("it is JSON"), &layers).expect("it is a cache");
    let (found, created) = theirs.find(&digest(1)).expect("it is there");
    assert_eq!(found.iter().map(|layer| layer.blob).collect::<Vec<_>>(), [blob, BlobDigest::of(b"upper")]);
    assert_eq!(created, Some(1_767_323_045));
    let mut merged = catalog(&[]);
    merged.merge(&theirs);
    let back = merged.to_config(false);
    assert_eq!(back.records[1].inputs[0][0].selector, "sel");
    assert_eq!(back.layers[1].parent, 0);
}

#[test]
fn an_inline_cache_is_what_the_image_has_of_it() {
    let image: Vec<BlobDigest> = [1, 2, 3].map(|number| layer(number).blob).into();
    let record = |number, layers: &[u8]| NewRecord {
        digest: digest(number),
        inputs: Vec::new(),
        layers: layers.iter().copied().map(layer).collect(),
        created: Some(5),
        note: RecordNote::default(),
    };
    let whole =
        catalog(&[record(0, &[1]), record(1, &[1, 2]), record(2, &[2]), record(3, &[1, 9]), record(4, &[1, 2, 3])]);
    let (field, text) = document::write_inline(&whole, &image).expect("there is something");
    let diff_ids: Vec<DiffId> = [1, 2, 3].map(|number| layer(number).diff_id).into();
    let config = serde_json::json!({ "rootfs": { "diff_ids": diff_ids }, (field): text }).to_string();
    let descriptors: Vec<_> = [1, 2, 3].map(|number| layer(number).descriptor()).into();
    let read = document::read_inline(config.as_bytes(), &descriptors).expect("it is read").expect("it is there");
    let blobs = |number| {
        read.find(&digest(number)).map(|(layers, _)| layers.iter().map(|layer| layer.blob).collect::<Vec<_>>())
    };
    assert_eq!(blobs(0), Some(image[..1].to_vec()));
    assert_eq!(blobs(1), Some(image[..2].to_vec()));
    assert_eq!(blobs(2), Some(image[1..2].to_vec()));
    assert_eq!(blobs(3), None);
    assert_eq!(blobs(4), Some(image.clone()));
    assert_eq!(document::write_inline(&whole, &[]), None);
}
