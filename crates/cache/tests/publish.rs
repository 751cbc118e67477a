//! Adding to a cache that others write to at the same time, that is damaged, or that cannot be written.

use std::sync::Mutex;

use stave_cache::backend::{Commit, Version};
use stave_cache::format::RecordNote;
use stave_cache::{Backend, Blob, CacheError, Catalog, Layer, NewRecord, publish};
use stave_oci::{BlobDigest, Descriptor, DiffId, media_type};
use stave_registry::BlobSink;

/// What an export of one record adds.
fn catalog(number: u8) -> Catalog {
    let layer = Layer {
        blob: BlobDigest::of(&[number]),
        size: 1,
        media_type: media_type::OCI_LAYER.to_owned(),
        diff_id: DiffId::of(&[number]),
        created: Some(1000),
        bytes: 1,
    };
    let note = RecordNote { op: String::new(), title: String::new(), used: 1000, made_of: None };
    let mut catalog = Catalog::default();
    let digest = BlobDigest::of(&[b'r', number]);
    catalog.add(NewRecord { digest, inputs: Vec::new(), layers: vec![layer], created: Some(1000), note });
    catalog
}

/// A cache in memory.
#[derive(Default)]
struct Memory {
    there: Mutex<Option<Catalog>>,
    /// What others write, each just before the next commit.
    others: Mutex<Vec<Catalog>>,
    /// A blob that is gone: no catalog that names it is taken.
    gone: Option<BlobDigest>,
    commits: Mutex<u32>,
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        let there = self.there.lock().expect("no panic").clone();
        there.map(|there| (there, Version::default())).ok_or_else(|| CacheError::Missing("memory".to_owned()))
    }

    fn fetch(&self, _: &Descriptor, _: &mut dyn BlobSink, _: &(dyn Fn(u64) + Sync)) -> Result<(), CacheError> {
        unreachable!("an export fetches nothing")
    }

    fn has(&self, _: &Descriptor) -> Result<bool, CacheError> {
        Ok(true)
    }

    fn send(&self, _: Vec<Blob>) -> Result<(), CacheError> {
        Ok(())
    }

    fn commit(&self, catalog: &Catalog, _: &Version) -> Result<Commit, CacheError> {
        *self.commits.lock().expect("no panic") += 1;
        if let Some(other) = self.others.lock().expect("no panic").pop() {
            let mut there = self.there.lock().expect("no panic");
            there.get_or_insert_default().merge(&other);
            return Ok(Commit::Conflict);
        }
        if self.gone.is_some_and(|gone| catalog.layers().iter().any(|layer| layer.blob == gone)) {
            return Err(CacheError::NoBlob { digest: String::new(), place: "memory".to_owned() });
        }
        *self.there.lock().expect("no panic") = Some(catalog.clone());
        Ok(Commit::Done)
    }
}

#[test]
fn what_others_write_in_between_is_kept() {
    let memory = Memory { others: Mutex::new(vec![catalog(1), catalog(2)]), ..Memory::default() };
    publish(&memory, &catalog(0), Vec::new(), 2000).expect("it is written");
    let (there, _) = memory.load().expect("it is there");
    assert!([0, 1, 2].iter().all(|number| there.has_all_of(&catalog(*number))));
    assert_eq!(*memory.commits.lock().expect("no panic"), 3);
}

#[test]
fn a_cache_that_names_what_is_gone_is_written_anew() {
    let memory = Memory { there: Mutex::new(Some(catalog(1))), gone: Some(BlobDigest::of(&[1])), ..Memory::default() };
    publish(&memory, &catalog(0), Vec::new(), 2000).expect("it is written");
    let (there, _) = memory.load().expect("it is there");
    assert!(there.has_all_of(&catalog(0)) && !there.has_all_of(&catalog(1)));
}

#[test]
fn what_nobody_has_used_for_long_is_left_out() {
    let memory = Memory { there: Mutex::new(Some(catalog(1))), ..Memory::default() };
    let later = 1000 + i64::try_from(stave_cache::limits::KEPT_UNUSED.as_secs()).expect("it is small");
    let mut fresh = catalog(0);
    let note = RecordNote { used: later + 1, ..RecordNote::default() };
    let digest = BlobDigest::of(b"fresh");
    let layers = fresh.layers().into_iter().cloned().collect();
    fresh.add(NewRecord { digest, inputs: Vec::new(), layers, created: None, note });
    publish(&memory, &fresh, Vec::new(), later + 1).expect("it is written");
    let (there, _) = memory.load().expect("it is there");
    assert!(there.find(&digest).is_some() && !there.has_all_of(&catalog(1)));
}
