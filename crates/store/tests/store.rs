//! What one process sees of a store.

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Bench, PathOf, assert_clean, check, digest, image, layer, list, record, tag};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use stave_oci::{BlobDigest, DiffId, TreeDigest};
use stave_store::{
    Attestation, BlobError, BlobExpectation, BuildError, BuildState, CacheLookup, CheckOptions, ContainerError,
    ContainerState, Eviction, HistoryLimit, ImageError, NewContainer, Problem, PruneOptions, Store, StoreError,
};

#[test]
fn a_new_store_is_private_and_clean() {
    let bench = Bench::new();
    let store = bench.open();
    let mode = std::fs::metadata(bench.root()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(std::fs::read(bench.root().join("version")).expect("it is there"), b"stave store 3\n");
    assert_clean(&store);
}

/// Without it, what one build deletes slows the files of the next on an ext4 without a journal.
#[test]
fn each_build_and_each_container_has_a_place_of_its_own_on_the_disk() {
    let bench = Bench::new();
    drop(bench.open());
    let open = |name: &str| File::open(bench.root().join(name)).expect("it is there");
    let flags = |name: &str| ioctl_getflags(open(name)).unwrap_or(IFlags::empty());
    // Whether this file system has the flag at all.
    let probe = open("logs");
    let is_known = ioctl_setflags(&probe, flags("logs") | IFlags::TOPDIR).is_ok();
    for name in ["tmp", "containers"] {
        assert_eq!(flags(name).contains(IFlags::TOPDIR), is_known, "{name}");
    }
}

#[test]
fn the_lowest_layer_has_every_mount_point() {
    let bench = Bench::new();
    let store = bench.open();
    let stubs = store.path_of(store.stubs_rel_path());
    for (name, mode) in [("", 0o40755), ("proc", 0o40755), ("sys", 0o40755), ("dev", 0o40755), ("etc", 0o40755)] {
        assert_eq!(stubs.join(name).metadata().expect("it is there").mode(), mode, "{name}");
    }
    for name in ["etc/hosts", "etc/resolv.conf"] {
        let metadata = stubs.join(name).metadata().expect("it is there");
        assert_eq!((metadata.mode(), metadata.len()), (0o100_644, 0), "{name}");
    }
}

#[test]
fn a_published_layer_outlives_its_lease_and_its_work_does_not() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = layer(&lease, "x");
    let work = lease.overlay_work_dir().expect("a work directory is made");
    assert!(store.path_of(&work.work_rel_path()).is_dir());
    drop(work);
    drop(lease);
    assert_eq!(std::fs::read(store.path_of(&store.layer_rel_path(id)).join("file")).expect("it is there"), b"x");
    assert_eq!(list(&bench.root().join("tmp")), [""; 0]);
    assert_eq!(list(&bench.root().join("trash")), [""; 0]);
    assert_clean(&store);
}

#[test]
fn a_lease_whose_lock_was_taken_for_a_dead_ones_is_made_again() {
    let bench = Bench::new();
    drop(bench.open());
    let (root, others, turns) = (bench.root(), bench.options("boot-1"), AtomicU32::new(0));
    let mut options = bench.options("boot-1");
    options.failpoint = Some(Arc::new(move |point| {
        // Before the lock is held, another process opens the store and clears up after the dead.
        if point == "lease.created" && turns.fetch_add(1, Ordering::Relaxed) < 2 {
            drop(Store::open(&root, others.clone()).expect("the store opens"));
        }
    }));
    let store = Store::open(&bench.root(), options).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    assert_eq!(list(&bench.root().join("tmp")).len(), 1, "two were cleared, the third holds");
    let id = layer(&lease, "x");
    bench.open().prune(&PruneOptions::default()).expect("it is pruned");
    lease.pin_layers(&[id]).expect("the lease is honoured");
}

#[test]
fn a_tar_that_is_unpacked_twice_is_one_layer() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let diff_id = DiffId::of(b"tar");
    let works = [(); 2].map(|()| lease.work_dir().expect("a work directory is made"));
    let ids = works.map(|work| lease.publish_layer(work, Some(diff_id)).expect("it is published"));
    assert_eq!(ids[0], ids[1]);
    assert_eq!(lease.layer_by_diff_id(&diff_id).expect("the store answers"), Some(ids[0]));
    assert_eq!(list(&bench.root().join("layers")).len(), 1);
    assert_eq!(store.layer_source(ids[0]).expect("the layer is there"), Some(diff_id));
}

#[test]
fn what_is_known_about_a_layers_tar_is_kept_for_each_epoch() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = layer(&lease, "x");
    let (plain, clamped, tree) = (DiffId::of(b"plain"), DiffId::of(b"clamped"), TreeDigest::of(b"tree"));
    store.set_layer_tar(id, "", &plain, 10, &[]).expect("it is recorded");
    store.set_layer_tar(id, "0", &clamped, 20, &[]).expect("it is recorded");
    store.set_layer_tree_digest(id, &tree).expect("it is recorded");
    assert_eq!(store.layer_tar(id, "").expect("the store answers"), Some((plain, 10)));
    assert_eq!(store.layer_tar(id, "0").expect("the store answers"), Some((clamped, 20)));
    assert_eq!(store.layer_tar(id, "1").expect("the store answers"), None);
    let mark = stave_store::TarMark { prefix: [7; 32], bytes: 5, state: vec![1, 2] };
    store.set_layer_tar(id, "0", &clamped, 20, std::slice::from_ref(&mark)).expect("it is recorded");
    assert_eq!(store.tar_mark(&[7; 32]).expect("the store answers"), Some(mark));
    assert_eq!(store.tar_mark(&[8; 32]).expect("the store answers"), None);
    assert_eq!(store.layers_that_pack_to(&clamped).expect("the store answers"), [(id, "0".to_owned())]);
    assert_eq!(store.layer_tree_digest(id).expect("the layer is there"), Some(tree));
}

/// The inodes that a mark speaks of have other owners when the layer is gone.
#[test]
fn a_mark_goes_with_its_layer() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let mark = stave_store::TarMark { prefix: [7; 32], bytes: 5, state: vec![1, 2] };
    let id = layer(&lease, "x");
    store.set_layer_tar(id, "", &DiffId::of(b"tar"), 20, std::slice::from_ref(&mark)).expect("it is recorded");
    assert_eq!(store.tar_mark(&mark.prefix).expect("the store answers"), Some(mark.clone()));
    drop(lease);
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).expect("it is pruned");
    assert_eq!(store.tar_mark(&mark.prefix).expect("the store answers"), None);
    assert_clean(&store);
}

#[test]
fn a_blob_is_stored_only_if_it_is_what_was_promised() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let write = |expected: BlobExpectation, bytes: &[u8]| {
        let mut writer = lease.blob_writer(expected).expect("a writer is made");
        writer.write_all(bytes).map_err(|error| error.to_string())?;
        writer.commit().map_err(|error| error.to_string())
    };
    let good = digest("good");
    let wrong = write(BlobExpectation::exactly(good, 4), b"evil").expect_err("the digest differs");
    assert!(wrong.contains("digest mismatch: expected sha256:"), "{wrong}");
    let short = write(BlobExpectation::exactly(good, 4), b"goo").expect_err("it is short");
    assert_eq!(short, "blob size mismatch: expected 4 bytes, got 3");
    let long = write(BlobExpectation::exactly(good, 4), b"goods").expect_err("it is long");
    assert_eq!(long, "blob has more than the 4 bytes that were promised or are allowed");
    assert_eq!(store.blob_size(&good).expect("the store answers"), None);
    assert!(matches!(store.open_blob(&good), Err(BlobError::Missing(_))));
    assert_eq!(write(BlobExpectation::exactly(good, 4), b"good"), Ok((good, 4)));
    assert_eq!(store.read_blob(&good, 4).expect("it is there"), b"good");
    assert!(matches!(store.read_blob(&good, 3), Err(BlobError::TooLong { limit: 3 })));
    drop(lease);
    assert_clean(&store);
}

#[test]
fn a_transfer_that_begins_again_forgets_its_first_bytes() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let mut writer = lease.blob_writer(BlobExpectation::exactly(digest("whole"), 5)).expect("a writer is made");
    writer.write_all(b"who?").expect("it is written");
    writer.restart().expect("it begins again");
    writer.write_all(b"whole").expect("it is written");
    assert_eq!(writer.commit().expect("it is whole"), (digest("whole"), 5));
}

#[test]
fn an_image_is_found_by_name_id_and_the_beginning_of_its_id() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let ids: Vec<_> = (0..40).map(|number| image(&lease, &number.to_string(), &[])).collect();
    store.tag(&ids[0], &tag("alpine")).expect("it is tagged");
    for text in ["alpine", "alpine:latest", "docker.io/library/alpine", &ids[0].to_string(), &ids[0].hex()] {
        assert_eq!(store.find_image(text).expect("it is found").id, ids[0], "{text}");
    }
    for id in &ids {
        let (prefix, others) = (&id.hex()[..2], ids.iter().filter(|other| other.hex()[..2] == id.hex()[..2]));
        match store.find_image(prefix) {
            Ok(found) => assert_eq!((found.id, others.count()), (*id, 1)),
            Err(ImageError::Ambiguous { matches, .. }) => assert_eq!(matches.len(), others.count()),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(store.find_image(&format!("sha256:{}", &id.hex()[..20])).expect("it is unique").id, *id);
    }
    for text in ["beta", "alpine:3", &ids[0].hex()[..1], "", "ALPINE", "sha256:"] {
        assert!(matches!(store.find_image(text), Err(ImageError::NotFound(_))), "{text}");
    }
}

#[test]
fn an_image_pulled_by_digest_is_found_by_digest() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = image(&lease, "a", &[]);
    let manifest = digest("manifest");
    let reference = "alpine:3".parse().expect("it is a reference");
    store.tag(&id, &stave_store::Tag::new(&reference, Some(manifest))).expect("it is tagged");
    assert_eq!(store.find_image(&format!("alpine@{manifest}")).expect("it is found").id, id);
    assert!(store.find_image(&format!("debian@{manifest}")).is_err());
}

#[test]
fn a_name_moves_from_image_to_image() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let first = image(&lease, "1", &["app"]);
    let second = image(&lease, "2", &["app"]);
    assert_eq!(store.find_image("app").expect("it is found").id, second);
    assert_eq!(store.image(&first).expect("the store answers").expect("it is there").tags, []);
    assert_eq!(store.image_config(&second).expect("it is there"), b"{\"config\":\"2\"}");
}

#[test]
fn removing_the_last_name_removes_the_image_and_its_blobs() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = image(&lease, "1", &["app", "app:2"]);
    drop(lease);
    let removed = store.remove_image("app:2", false).expect("it is removed");
    assert_eq!((removed.untagged.len(), removed.deleted), (1, None));
    let several = image(&store.lease().expect("a lease is given"), "1", &["b"]);
    let error = store.remove_image(&several.to_string(), false).expect_err("it has two names");
    assert!(matches!(error, ImageError::SeveralNames { names, .. } if names.len() == 2));
    store.remove_image("b", false).expect("it is removed");
    let removed = store.remove_image("app", false).expect("it is removed");
    assert_eq!(
        (removed.untagged.as_slice(), removed.deleted),
        (&["docker.io/library/app:latest".to_owned()][..], Some(id))
    );
    assert_eq!(store.usage().expect("it is measured").blobs.count, 0);
    assert_clean(&store);
}

#[test]
fn an_image_in_use_by_a_container_goes_only_with_force() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = image(&lease, "1", &["app"]);
    let new = NewContainer { name: Some("one"), image: id, image_name: "app", snapshot: &[], config: "{}" };
    let container = lease.create_container(&new).expect("it is made");
    drop(lease);
    assert!(matches!(store.remove_image("app", false), Err(ImageError::UsedByStopped { .. })));
    assert!(matches!(store.remove_image(&id.hex(), false), Err(ImageError::UsedByStopped { .. })));
    let running = ContainerState::Running { pid: 1, start_time: u64::MAX };
    store.set_container_state(&container.id, running).expect("it is recorded");
    assert_eq!(store.container(&container.id).expect("the store answers").expect("it is there").state, running);
    assert!(matches!(store.remove_image(&id.hex(), true), Err(ImageError::UsedByRunning { .. })));
    store.set_container_state(&container.id, ContainerState::Exited { code: 3 }).expect("it is recorded");
    let removed = store.remove_image("app", true).expect("the name goes");
    assert_eq!((removed.untagged.len(), removed.deleted), (1, None));
    assert_eq!(store.remove_image(&id.hex(), true).expect("it goes").deleted, Some(id));
    assert_clean(&store);
}

/// Several containers are made in one second, and one asks for the latest.
#[test]
fn containers_of_one_second_are_in_the_order_in_which_they_were_made() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let image = image(&lease, "1", &["app"]);
    let names = ["c1", "a1", "e1", "b1", "d1"];
    for name in names {
        bench.advance_by(Duration::from_micros(1));
        let new = NewContainer { name: Some(name), image, image_name: "app", snapshot: &[], config: "{}" };
        lease.create_container(&new).expect("it is made");
    }
    let found = store.containers().expect("the store answers");
    let listed: Vec<&str> = found.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(listed, ["d1", "b1", "e1", "a1", "c1"]);
    assert_eq!(found[4].created, Duration::from_micros(1_000_000_000_001));
    bench.advance_by(Duration::from_nanos(7));
    store.set_container_state(&found[0].id, ContainerState::Running { pid: 1, start_time: 2 }).expect("it is recorded");
    bench.advance_by(Duration::from_nanos(2));
    store.set_container_state(&found[0].id, ContainerState::Exited { code: 0 }).expect("it is recorded");
    let ended = store.container(&found[0].id).expect("the store answers").expect("it is there");
    let after = |nanos| Some(ended.created + Duration::from_nanos(nanos));
    assert_eq!((ended.started, ended.finished), (after(7), after(9)));
}

/// A store whose tables are older gets the columns that came since; nothing of it is lost, and a process that has it
/// open goes on.
#[test]
fn a_store_with_older_tables_gets_what_they_lack() {
    let bench = Bench::new();
    let older = bench.open();
    let lease = older.lease().expect("a lease is given");
    let image = image(&lease, "1", &["app"]);
    let new = |name| NewContainer { name: Some(name), image, image_name: "app", snapshot: &[], config: "{}" };
    let one = lease.create_container(&new("one")).expect("it is made");
    let database = bench.root().join("stave.db");
    let connection = rusqlite::Connection::open(&database).expect("it opens");
    let back = "ALTER TABLE containers DROP COLUMN created_nanos; ALTER TABLE containers DROP COLUMN started_nanos; \
                ALTER TABLE containers DROP COLUMN finished_nanos; PRAGMA user_version = 2";
    connection.execute_batch(back).expect("these are the tables of before");
    let store = bench.open();
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("it has one");
    assert_eq!(version, 3);
    assert_eq!(store.container(&one.id).expect("the store answers").expect("it is there").created.subsec_nanos(), 0);
    bench.advance_by(Duration::from_nanos(5));
    let two = store.lease().expect("a lease is given").create_container(&new("two")).expect("it is made");
    assert_eq!(two.created.subsec_nanos(), 5);
    let of_before = "INSERT INTO containers (id, name, image, image_name, config, state, created) \
                     VALUES ('x', 'three', x'00', 'app', '{}', 'created', 7)";
    connection.execute(of_before, []).expect("what an older process says still has its place");
    connection.execute("DELETE FROM containers WHERE id = 'x'", []).expect("it goes");
    drop(lease);
    assert_clean(&store);
}

#[test]
fn containers_have_unique_names_and_keep_their_layers() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = layer(&lease, "x");
    let image = image(&lease, "1", &["app"]);
    let new = NewContainer { name: Some("one"), image, image_name: "app", snapshot: &[id], config: "{}" };
    let one = lease.create_container(&new).expect("it is made");
    assert!(matches!(lease.create_container(&new), Err(ContainerError::NameTaken { .. })));
    assert!(matches!(
        lease.create_container(&NewContainer { name: Some("../x"), ..new.clone() }),
        Err(ContainerError::BadName(_))
    ));
    let made_up = lease.create_container(&NewContainer { name: None, ..new.clone() }).expect("it is made");
    assert!(made_up.name.contains('_'), "{}", made_up.name);
    assert_eq!(list(&bench.root().join("containers")).len(), 2);
    for text in ["one", one.id.as_str(), one.id.short()] {
        assert_eq!(store.resolve_container(text).expect("it is found").id, one.id);
    }
    assert!(matches!(store.resolve_container("two"), Err(ContainerError::NotFound(_))));
    drop(lease);
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).expect("it is pruned");
    assert!(store.path_of(&store.layer_rel_path(id)).is_dir());
    store.set_container_state(&one.id, ContainerState::Running { pid: 1, start_time: 2 }).expect("it is recorded");
    assert!(matches!(store.remove_container(&one.id, false), Err(ContainerError::Running(_))));
    store.remove_container(&one.id, true).expect("it goes");
    store.remove_container(&made_up.id, false).expect("it goes");
    assert!(!store.path_of(&store.layer_rel_path(id)).exists());
    assert_eq!(list(&bench.root().join("containers")), [""; 0]);
    assert_clean(&store);
}

#[test]
fn a_cache_record_is_hit_until_it_is_pruned_and_then_explains_the_miss() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let (base, top) = (layer(&lease, "base"), layer(&lease, "top"));
    assert_eq!(lease.lookup(&[1; 32]).expect("the store answers"), CacheLookup::Miss);
    lease.record(&record(1, &[base, top])).expect("it is recorded");
    let CacheLookup::Hit(hit) = lease.lookup(&[1; 32]).expect("the store answers") else { panic!("it is a hit") };
    assert_eq!((hit.snapshot, hit.inputs, hit.created), (vec![base, top], vec![vec![base]], 1_000_000));
    assert_eq!(lease.candidates(&[7; 32], 5).expect("the store answers").len(), 1);
    assert_eq!(lease.candidates(&[8; 32], 5).expect("the store answers").len(), 0);
    let pruned = store.prune(&PruneOptions::default()).expect("it is pruned");
    assert_eq!((pruned.cache_records, pruned.layers), (0, 0), "a lease has pinned them");
    drop(lease);
    let pruned = store.prune(&PruneOptions::default()).expect("it is pruned");
    assert_eq!((pruned.cache_records, pruned.layers), (1, 2));
    assert!(pruned.bytes > 0);
    let lease = store.lease().expect("a lease is given");
    let evicted = CacheLookup::Evicted { title: "RUN 1".to_owned(), reason: Eviction::Pruned };
    assert_eq!(lease.lookup(&[1; 32]).expect("the store answers"), evicted);
    assert!(matches!(lease.record(&record(2, &[base])), Err(StoreError::NoLayer(gone)) if gone == base));
    assert_clean(&store);
}

#[test]
fn pruning_by_size_gives_up_what_was_unused_for_longest() {
    let bench = Bench::new();
    let store = bench.open();
    let mut layers = Vec::new();
    for key in 0..40 {
        let lease = store.lease().expect("a lease is given");
        let id = layer(&lease, &"x".repeat(500_000));
        lease.record(&record(key, &[id])).expect("it is recorded");
        layers.push(id);
        bench.advance(10_000);
    }
    let touched = store.lease().expect("a lease is given").lookup(&[0; 32]).expect("the store answers");
    assert!(matches!(touched, CacheLookup::Hit(_)));
    let before = store.usage().expect("it is measured");
    assert_eq!((before.layers.count, before.reclaimable.count), (40, 40));
    let options = PruneOptions { keep_bytes: Some(before.total_bytes() / 2), ..PruneOptions::default() };
    let pruned = store.prune(&options).expect("it is pruned");
    let after = store.usage().expect("it is measured").total_bytes();
    assert_eq!(pruned.layers, 32, "one batch is enough");
    assert!(before.total_bytes() - after >= 32 * 500_000 && pruned.bytes >= 32 * 500_000);
    assert!(store.path_of(&store.layer_rel_path(layers[0])).exists(), "it was used last");
    assert!(!store.path_of(&store.layer_rel_path(layers[1])).exists());
    let none = store.prune(&PruneOptions { until: Some(0), ..PruneOptions::default() }).expect("it is pruned");
    assert_eq!(none.cache_records, 0);
}

#[test]
fn a_file_with_two_links_is_counted_once_and_freed_with_its_last() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let first = layer(&lease, &"x".repeat(1 << 20));
    let work = lease.work_dir().expect("a work directory is made");
    let link = store.path_of(&work.diff_rel_path()).join("file");
    std::fs::hard_link(store.path_of(&store.layer_rel_path(first)).join("file"), link).expect("it is linked");
    let second = lease.publish_layer(work, None).expect("it is published");
    lease.record(&record(2, &[second])).expect("it is recorded");
    drop(lease);
    let bytes = store.usage().expect("it is measured").layers.bytes;
    assert!((1 << 20..3 << 19).contains(&bytes), "{bytes}");
    let first = store.prune(&PruneOptions { until: Some(0), ..PruneOptions::default() }).expect("it is pruned");
    assert_eq!(first.layers, 1);
    assert!(first.bytes < 1 << 19, "the other link is still there");
    let second = store.prune(&PruneOptions::default()).expect("it is pruned");
    assert!(second.bytes >= 1 << 20, "{}", second.bytes);
}

#[test]
fn images_without_names_are_pruned_and_those_with_names_only_on_demand() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let (named, nameless) = (image(&lease, "1", &["app"]), image(&lease, "2", &[]));
    drop(lease);
    let cache_only = PruneOptions { cache_only: true, ..PruneOptions::default() };
    assert_eq!(store.prune(&cache_only).expect("it is pruned").images, []);
    assert_eq!(store.prune(&PruneOptions::default()).expect("it is pruned").images, [nameless]);
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    let pinned = store.lease().expect("a lease is given");
    pinned.resolve_image("app").expect("it is found");
    assert_eq!(store.prune(&all).expect("it is pruned").images, []);
    store.remove_image("app", false).expect("a lease keeps the files, not the name");
    assert!(store.open_blob(&BlobDigest::from(named)).is_ok(), "a running build still reads it");
    drop(pinned);
    store.prune(&all).expect("it is pruned");
    assert!(store.open_blob(&BlobDigest::from(named)).is_err());
    assert_clean(&store);
}

#[test]
fn what_is_said_about_an_image_goes_with_it() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = image(&lease, "1", &["app"]);
    let said = |text: &str| {
        let blob = lease.put_blob(text.as_bytes()).expect("it is stored");
        Attestation { predicate_type: text.to_owned(), blob }
    };
    let (old, new) = (said("old"), said("new"));
    lease.set_attestations(&id, std::slice::from_ref(&old)).expect("it is recorded");
    lease.set_attestations(&id, std::slice::from_ref(&new)).expect("it is recorded");
    drop(lease);
    assert_eq!(store.attestations(&id).expect("it is read"), std::slice::from_ref(&new));
    store.prune(&PruneOptions::default()).expect("it is pruned");
    assert!(store.open_blob(&new.blob).is_ok() && store.open_blob(&old.blob).is_err());
    store.remove_image("app", false).expect("it is removed");
    store.prune(&PruneOptions::default()).expect("it is pruned");
    assert_eq!(store.attestations(&id).expect("it is read"), []);
    assert!(store.open_blob(&new.blob).is_err());
    assert_eq!(store.check(&CheckOptions::default()).expect("it is checked").problems, []);
}

#[test]
fn the_age_of_what_is_not_settled_is_known() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(store.unsettled_since().expect("an answer"), None);
    let lease = store.lease().expect("a lease is given");
    layer(&lease, "new");
    assert!(store.unsettled_since().expect("an answer").is_some());
    store.settle().expect("written");
    assert_eq!(store.unsettled_since().expect("an answer"), None);
}

#[test]
fn a_restart_drops_what_was_not_settled_and_says_so() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let kept = layer(&lease, "kept");
    lease.record(&record(1, &[kept])).expect("it is recorded");
    image(&lease, "kept", &["kept"]);
    assert!(!store.is_settled().expect("the store answers"));
    store.settle().expect("it settles");
    assert!(store.is_settled().expect("the store answers"));
    let dropped = layer(&lease, "dropped");
    lease.record(&record(2, &[kept, dropped])).expect("it is recorded");
    let image = image(&lease, "dropped", &["dropped"]);
    let new = NewContainer { name: Some("one"), image, image_name: "x", snapshot: &[kept, dropped], config: "" };
    lease.create_container(&new).expect("it is made");
    drop((lease, store));

    let store = bench.try_open("boot-2").expect("the store opens");
    let lost: Vec<String> = store.lost().expect("the store answers").into_iter().map(|lost| lost.name).collect();
    assert_eq!(lost, ["one", "docker.io/library/dropped:latest"]);
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[1; 32]).expect("the store answers"), CacheLookup::Hit(_)));
    let evicted = lease.lookup(&[2; 32]).expect("the store answers");
    assert!(matches!(evicted, CacheLookup::Evicted { reason: Eviction::NotDurable, .. }), "{evicted:?}");
    assert!(store.find_image("kept").is_ok());
    assert!(!store.path_of(&store.layer_rel_path(dropped)).exists());
    assert_clean(&store);
    store.acknowledge_lost().expect("it is recorded");
    assert_eq!(store.lost().expect("the store answers"), []);
}

#[test]
fn a_store_of_another_version_is_refused_with_the_way_out() {
    let bench = Bench::new();
    drop(bench.open());
    std::fs::write(bench.root().join("version"), "stave store 4\n").expect("it is written");
    let error = bench.try_open("boot-1").expect_err("the version is unknown").to_string();
    assert!(
        error.contains("`stave store 4`") && error.contains("`stave store 3`") && error.contains("--root"),
        "{error}"
    );
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let bench = Bench::new();
    std::fs::create_dir(bench.root()).expect("it is made");
    std::fs::write(bench.root().join("thesis.tex"), "x").expect("it is written");
    assert!(matches!(bench.try_open("boot-1"), Err(StoreError::NotAStore { entry, .. }) if entry == "thesis.tex"));
    assert_eq!(list(&bench.root()), ["thesis.tex"]);
}

#[test]
fn a_store_of_another_user_is_refused() {
    let bench = Bench::new();
    drop(bench.open());
    if let Err(error) = std::os::unix::fs::chown(bench.root(), Some(12345), None) {
        println!("skipped: cannot give a directory to another user: {error}");
        return;
    }
    assert!(matches!(bench.try_open("boot-1"), Err(StoreError::OtherUser { owner: 12345, .. })));
}

#[test]
fn a_damaged_database_is_an_error_that_says_what_to_do() {
    for damage in ["garbage", "zeros", "truncated", "middle"] {
        let bench = Bench::new();
        let store = bench.open();
        let lease = store.lease().expect("a lease is given");
        image(&lease, "1", &["app"]);
        drop(lease);
        store.settle().expect("it settles");
        drop(store);
        let path = bench.root().join("stave.db");
        let bytes = std::fs::read(&path).expect("it is there");
        let damaged = match damage {
            "garbage" => b"this is not a database, whatever its name says".repeat(100),
            "zeros" => vec![0; bytes.len()],
            "truncated" => bytes[..bytes.len() / 3].to_vec(),
            _ => [&bytes[..4096], &vec![0xff; bytes.len() - 4096][..]].concat(),
        };
        std::fs::write(&path, damaged).expect("it is written");
        for suffix in ["-wal", "-shm"] {
            drop(std::fs::remove_file(bench.root().join(format!("stave.db{suffix}"))));
        }
        let error = bench.try_open("boot-1").and_then(|store| store.images()).expect_err(damage);
        assert!(matches!(error, StoreError::Damaged { .. }), "{damage}: {error}");
        assert!(error.to_string().contains("move it"), "{error}");
        assert!(bench.root().join("blobs").is_dir());
    }
}

#[test]
fn a_store_without_its_database_starts_anew_and_check_removes_the_rest() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    image(&lease, "1", &["app"]);
    layer(&lease, "x");
    drop((lease, store));
    for name in ["stave.db", "stave.db-wal", "stave.db-shm"] {
        drop(std::fs::remove_file(bench.root().join(name)));
    }
    let store = bench.open();
    let found = check(&store);
    assert!(found.problems.iter().all(Problem::is_litter) && found.problems.len() == 3, "{found:?}");
    store.check(&CheckOptions { repair: true, ..CheckOptions::default() }).expect("it is repaired");
    assert_clean(&store);
}

#[test]
fn check_names_every_fault_and_repairs_it() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let (flipped, missing, short) =
        (image(&lease, "1", &["a"]), image(&lease, "2", &["b"]), image(&lease, "3", &["c"]));
    let gone = layer(&lease, "x");
    lease.record(&record(1, &[gone])).expect("it is recorded");
    drop(lease);
    let path = |id| {
        let hex = BlobDigest::from(id).hex();
        bench.root().join(format!("blobs/sha256/{}/{}", &hex[..2], &hex[2..]))
    };
    std::fs::write(path(flipped), "{\"config\":\"!\"}").expect("it is written");
    std::fs::remove_file(path(missing)).expect("it is deleted");
    std::fs::write(path(short), "{").expect("it is written");
    std::fs::remove_dir_all(bench.root().join(format!("layers/{gone}"))).expect("it is deleted");
    std::fs::create_dir(bench.root().join("layers/00000000000000aa")).expect("it is made");
    std::fs::write(bench.root().join("core"), "x").expect("it is written");
    let found = check(&store);
    let expected = [
        Problem::BlobMissing(missing.into()),
        Problem::BlobSize { digest: short.into(), expected: 14, actual: 1 },
        Problem::BlobDigest { expected: flipped.into(), actual: digest("{\"config\":\"!\"}") },
        Problem::LayerMissing(gone),
        Problem::Orphan("layers/00000000000000aa".to_owned()),
        Problem::Stray("core".to_owned()),
    ];
    for problem in &expected {
        assert!(found.problems.contains(problem), "{problem} is not among {:?}", found.problems);
    }
    assert!(found.is_damaged());
    let repair = CheckOptions { read_blobs: true, repair: true, ..CheckOptions::default() };
    store.check(&repair).expect("it is repaired");
    assert_eq!(check(&store).problems, [Problem::Stray("core".to_owned())], "what is not ours is not deleted");
    assert_eq!(store.lost().expect("the store answers").len(), 3);
    assert_eq!(store.images().expect("the store answers").len(), 0);
    let evicted = store.lease().expect("a lease is given").lookup(&[1; 32]).expect("the store answers");
    assert!(matches!(evicted, CacheLookup::Evicted { reason: Eviction::Damaged, .. }));
}

#[test]
fn a_deep_check_compares_what_layers_pack_to() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let (good, bad) = (layer(&lease, "good"), layer(&lease, "bad"));
    for id in [good, bad] {
        store.set_layer_tar(id, "5", &DiffId::of(b"good"), 1, &[]).expect("it is recorded");
        lease.record(&record(u8::from(id == good), &[id])).expect("it is recorded");
    }
    let pack = |id: stave_store::LayerId, epoch: &str| {
        assert_eq!(epoch, "5");
        Ok(DiffId::of(&std::fs::read(store.path_of(&store.layer_rel_path(id)).join("file"))?))
    };
    let options = CheckOptions { pack: Some(&pack), repair: true, ..CheckOptions::default() };
    let found = store.check(&options).expect("the check runs");
    let expected = Problem::LayerDigest { layer: bad, expected: DiffId::of(b"good"), actual: DiffId::of(b"bad") };
    assert_eq!(found.problems, [expected]);
    assert_eq!(store.check(&options).expect("the check runs").problems, []);
}

#[test]
fn the_trash_takes_trees_deeper_than_descriptors_reach() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let work = lease.work_dir().expect("a work directory is made");
    let mut path = store.path_of(&work.diff_rel_path());
    for depth in 0..400 {
        path.push(if depth % 2 == 0 { "a" } else { "bb" });
        std::fs::create_dir(&path).expect("it is made");
        std::fs::write(path.join("file"), "x").expect("it is written");
    }
    drop(work);
    assert_eq!(list(&bench.root().join("trash")), [""; 0]);
}

#[test]
fn the_history_keeps_the_latest_builds_within_limits() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    for number in 0..5 {
        let id = lease.begin_build(&format!("build {number}")).expect("it begins");
        let log = store.path_of(&store.build_logs_rel_path(&id)).join("log");
        std::fs::write(log, "x".repeat(10_000)).expect("it is written");
        bench.advance(1);
        lease.finish_build(&id, BuildState::Done, None).expect("it ends");
    }
    let interrupted = lease.begin_build("interrupted").expect("it begins");
    drop(lease);
    let builds = store.builds(10).expect("the store answers");
    assert_eq!((builds[0].id.clone(), builds[0].state), (interrupted, BuildState::Interrupted));
    assert_eq!(store.trim_builds(HistoryLimit { count_max: 4, bytes_max: u64::MAX }).expect("they are trimmed"), 2);
    assert_eq!(store.trim_builds(HistoryLimit { count_max: 4, bytes_max: 30_000 }).expect("they are trimmed"), 2);
    let titles: Vec<String> =
        store.builds(10).expect("the store answers").into_iter().map(|build| build.title).collect();
    assert_eq!(titles, ["interrupted", "build 4"]);
    assert_eq!(list(&bench.root().join("logs")).len(), 2);
    assert_clean(&store);
}

#[test]
fn a_build_is_found_by_the_beginning_of_its_id_or_by_its_place() {
    let bench = Bench::new();
    let store = bench.open();
    let find = |name: Option<&str>| store.find_build(name).map(|build| build.title);
    assert!(matches!(find(None), Err(BuildError::Empty)));
    let lease = store.lease().expect("a lease is given");
    // So many that two of them begin alike.
    for number in 0..17 {
        lease.begin_build(&number.to_string()).expect("it begins");
    }
    let builds = store.builds(100).expect("the store answers");
    assert_eq!(find(None).expect("the latest"), "16");
    assert_eq!(find(Some("^0")).expect("the latest"), "16");
    assert_eq!(find(Some("^2")).expect("the third from the end"), "14");
    for build in &builds {
        assert_eq!(store.find_build(Some(build.id.as_str())).expect("it is there"), *build);
        let digit = &build.id.as_str()[..1];
        let alike = builds.iter().filter(|other| other.id.as_str().starts_with(digit)).map(|other| other.id.clone());
        match store.find_build(Some(digit)) {
            Ok(found) => assert_eq!([found.id], *alike.collect::<Vec<_>>()),
            Err(BuildError::Ambiguous { matches, .. }) => assert_eq!(matches, alike.collect::<Vec<_>>()),
            Err(other) => panic!("{other}"),
        }
    }
    for name in ["", "^17", "^", "^-1", "^x", "zz", "%", "_"] {
        assert!(matches!(find(Some(name)), Err(BuildError::NotFound(_))), "{name}");
    }
}

#[test]
fn a_failed_build_keeps_its_state_until_it_is_pruned_or_too_old() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let mut builds = Vec::new();
    for number in 0..3 {
        let kept = layer(&lease, &format!("what failed build {number} left"));
        let build = lease.begin_build(&format!("build {number}")).expect("it begins");
        lease.keep_state(&build, &[kept], 2).expect("it is kept");
        lease.finish_build(&build, BuildState::Failed, None).expect("it ends");
        builds.push((build, kept));
    }
    drop(lease);
    let kept = |index: usize| store.kept_state(&builds[index].0).expect("the store answers");
    let there = |index: usize| store.path_of(&store.layer_rel_path(builds[index].1)).exists();
    let count = (0..3).filter(|&index| kept(index) == [builds[index].1]).count();
    assert_eq!(count, 2, "the two latest");
    assert_eq!(kept(2), [builds[2].1]);
    store.prune(&PruneOptions { images_only: true, ..PruneOptions::default() }).expect("it is pruned");
    assert_eq!((0..3).filter(|&index| there(index)).count(), 2, "no image needs the third");
    // The latest stays whatever the limits are, so another one comes after them.
    let lease = store.lease().expect("a lease is given");
    let build = lease.begin_build("the latest").expect("it begins");
    lease.finish_build(&build, BuildState::Done, None).expect("it ends");
    drop(lease);
    assert_eq!(store.trim_builds(HistoryLimit { count_max: 0, bytes_max: 0 }).expect("it is trimmed"), 3);
    assert_eq!((0..3).filter(|&index| there(index)).count(), 0, "with the build goes what it kept");
    let lease = store.lease().expect("a lease is given");
    let last = layer(&lease, "another");
    let build = lease.begin_build("another").expect("it begins");
    lease.keep_state(&build, &[last], 2).expect("it is kept");
    lease.finish_build(&build, BuildState::Failed, None).expect("it ends");
    drop(lease);
    store.prune(&PruneOptions { cache_only: true, ..PruneOptions::default() }).expect("it is pruned");
    assert_eq!(store.kept_state(&build).expect("the store answers"), []);
    assert!(!store.path_of(&store.layer_rel_path(last)).exists());
    assert_clean(&store);
}
