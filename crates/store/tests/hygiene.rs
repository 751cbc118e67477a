//! What the store takes, what may be given up of it, and the limit that it keeps.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, PathOf, assert_clean, image, layer, record};
use stave_store::{
    BlobError, BlobExpectation, BuildError, BuildState, CacheLookup, CacheName, DiskRecord, HistoryLimit, NewContainer,
    PruneOptions, RecordKind, SizeLimit, Store, StoreError, StoreOptions,
};

/// What `du` says about a directory, in bytes.
fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().expect("du runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// A store with one of everything: linked and sparse files, blobs, a container, a cache mount, a memory of a context, logs.
fn furnished(store: &Store) {
    let lease = store.lease().expect("a lease is given");
    let first = layer(&lease, &"x".repeat(3_000_000));
    let work = lease.work_dir().expect("a work directory is made");
    let diff = store.path_of(&work.diff_rel_path());
    std::fs::hard_link(store.path_of(&store.layer_rel_path(first)).join("file"), diff.join("link")).expect("linked");
    let sparse = std::fs::File::create(diff.join("sparse")).expect("made");
    sparse.set_len(1 << 30).expect("a file with a hole");
    for number in 0..500 {
        std::fs::write(diff.join(format!("small-{number}")), "x").expect("written");
    }
    let second = lease.publish_layer(work, None).expect("it is published");
    lease.record(&record(1, &[first])).expect("it is recorded");
    lease.record(&record(2, &[first, second])).expect("it is recorded");
    let id = image(&lease, "app", &["app"]);
    lease.put_blob(&vec![7; 2_000_000]).expect("a blob nobody needs is stored");
    let config = NewContainer { name: Some("ct"), image: id, image_name: "app", snapshot: &[first], config: "{}" };
    let container = lease.create_container(&config).expect("it is made");
    let own = store.path_of(&store.container_diff_rel_path(&container.id));
    std::fs::write(own.join("data"), vec![1; 700_000]).expect("written");
    let work = lease.work_dir().expect("a work directory is made");
    let data = store.path_of(&work.diff_rel_path()).join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("cached"), vec![1; 900_000]).expect("written");
    assert!(lease.publish_cache(work, &CacheName::new(&[9; 32]), "cache `go`").expect("it is published"));
    std::fs::write(store.path_of(store.context_rel_path()).join("memory"), vec![1; 50_000]).expect("written");
    let build = lease.begin_build("app").expect("it begins");
    let logs = store.path_of(&store.build_logs_rel_path(&build));
    std::fs::write(logs.join("1.log"), vec![b'x'; 123_456]).expect("written");
    lease.finish_build(&build, BuildState::Done, None).expect("it ends");
}

#[test]
fn the_account_is_that_of_du_within_a_hundredth() {
    let bench = Bench::new();
    let store = bench.open();
    furnished(&store);
    let (real, usage) = (du(&bench.root()), store.usage().expect("it is measured"));
    let records: u64 = store.records().expect("they are listed").iter().map(|record| record.bytes).sum();
    for (what, counted) in [("the totals", usage.total_bytes()), ("the records", records)] {
        assert!(counted.abs_diff(real) * 100 <= real, "{what}: {counted} bytes, du says {real}");
    }
    assert_clean(&store);
}

fn find<'a>(records: &'a [DiskRecord], kind: RecordKind, text: &str) -> &'a DiskRecord {
    let found = records.iter().find(|record| record.kind == kind && record.description.contains(text));
    found.unwrap_or_else(|| panic!("no record of `{text}` among {records:#?}"))
}

/// D028, D029.
#[test]
fn records_say_who_needs_what() {
    let bench = Bench::new();
    let store = bench.open();
    furnished(&store);
    let records = store.records().expect("they are listed");
    let first = find(&records, RecordKind::Regular, "RUN 1");
    assert!(first.shared && !first.reclaimable && !first.in_use, "a container stands on it: {first:?}");
    let second = find(&records, RecordKind::Regular, "RUN 2");
    assert!(!second.shared && second.reclaimable && second.last_used.is_some(), "{second:?}");
    assert_eq!(second.parents, std::slice::from_ref(&first.id));
    assert!(
        second.bytes < 2_600_000 + 500 * 4096 && first.bytes >= 3_000_000,
        "the shared file is of the one that stays"
    );
    assert!(find(&records, RecordKind::CacheMount, "cache `go`").reclaimable);
    assert!(find(&records, RecordKind::Container, "container ct").mutable);
    assert_eq!(find(&records, RecordKind::LocalSource, "context").id, "memory");
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[2; 32]).expect("it answers"), CacheLookup::Hit(_)));
    let records = store.records().expect("they are listed");
    let used = find(&records, RecordKind::Regular, "RUN 2");
    assert!(used.in_use && !used.reclaimable, "{used:?}");
}

/// D024.
#[test]
fn a_filter_chooses_what_goes() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let (one, two) = (layer(&lease, "1"), layer(&lease, "2"));
    lease.record(&record(1, &[one])).expect("it is recorded");
    lease.record(&record(2, &[two])).expect("it is recorded");
    let work = lease.work_dir().expect("a work directory is made");
    std::fs::create_dir(store.path_of(&work.diff_rel_path()).join("data")).expect("made");
    assert!(lease.publish_cache(work, &CacheName::new(&[9; 32]), "cache").expect("it is published"));
    drop(lease);
    let is_two = |record: &DiskRecord| record.description == "RUN 2";
    let options = PruneOptions { filter: Some(&is_two), ..PruneOptions::default() };
    let pruned = store.prune(&options).expect("it is pruned");
    assert_eq!((pruned.cache_records, pruned.layers, pruned.cache_mounts), (1, 1, 0));
    let is_cache = |record: &DiskRecord| record.kind == RecordKind::CacheMount;
    let options = PruneOptions { filter: Some(&is_cache), ..PruneOptions::default() };
    let pruned = store.prune(&options).expect("it is pruned");
    assert_eq!((pruned.cache_records, pruned.cache_mounts), (0, 1));
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[1; 32]).expect("it answers"), CacheLookup::Hit(_)));
    assert_clean(&store);
}

/// D023: without `-a`, what an image needs anyway stays known.
#[test]
fn results_that_an_image_needs_stay_if_only_private_ones_are_pruned() {
    let bench = Bench::new();
    let store = bench.open();
    furnished(&store);
    let options = PruneOptions { private_only: true, cache_only: true, ..PruneOptions::default() };
    assert_eq!(store.prune(&options).expect("it is pruned").cache_records, 1);
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[1; 32]).expect("it answers"), CacheLookup::Hit(_)));
    assert!(matches!(lease.lookup(&[2; 32]).expect("it answers"), CacheLookup::Evicted { .. }));
}

/// D021, D025: the reserve wins over the other two, which go down as far as they have to.
#[test]
fn sizes_to_go_down_to_are_those_of_buildkit() {
    let bench = Bench::new();
    let store = bench.open();
    for key in 0..100 {
        let lease = store.lease().expect("a lease is given");
        let id = layer(&lease, &"x".repeat(200_000));
        lease.record(&record(key, &[id])).expect("it is recorded");
        bench.advance(10);
    }
    let before = store.usage().expect("it is measured").total_bytes();
    let pruned = |options: PruneOptions<'_>| store.prune(&options).expect("it is pruned").cache_records;
    let options = PruneOptions { keep_bytes: Some(0), reserved_bytes: Some(before), ..PruneOptions::default() };
    assert_eq!(pruned(options), 0, "the reserve is kept");
    assert_eq!(pruned(PruneOptions { free_bytes: Some(0), ..PruneOptions::default() }), 0, "enough is free");
    let half = PruneOptions { reserved_bytes: Some(before / 2), ..PruneOptions::default() };
    assert!((50..100).contains(&pruned(half)), "alone, the reserve is what is kept");
    assert!(store.usage().expect("it is measured").total_bytes() <= before / 2);
    assert!(pruned(PruneOptions { free_bytes: Some(u64::MAX), ..PruneOptions::default() }) > 0);
}

fn limited(bench: &Bench, bytes: u64) -> StoreOptions {
    StoreOptions { limit: SizeLimit::Given(Some(bytes)), ..bench.options("boot-1") }
}

#[test]
fn a_blob_that_would_pass_the_limit_first_gives_up_what_was_unused_for_longest() {
    let bench = Bench::new();
    let store = bench.open();
    for key in 0..20 {
        let lease = store.lease().expect("a lease is given");
        let id = layer(&lease, &"x".repeat(1_000_000));
        lease.record(&record(key, &[id])).expect("it is recorded");
        bench.advance(10_000);
    }
    let used = du(&bench.root());
    let limit = used + 1_000_000;
    let store = Store::open(&bench.root(), limited(&bench, limit)).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[3; 32]).expect("it answers"), CacheLookup::Hit(_)));
    let bytes = vec![1; 5_000_000];
    let expected = BlobExpectation::exactly(stave_oci::BlobDigest::of(&bytes), bytes.len() as u64);
    let mut writer = lease.blob_writer(expected).expect("room is made");
    assert!(du(&bench.root()) <= limit, "the blob has its blocks, and the limit holds");
    writer.write_all(&bytes).expect("written");
    writer.commit().expect("it is published");
    assert!(du(&bench.root()) <= limit);
    assert!(matches!(lease.lookup(&[0; 32]).expect("it answers"), CacheLookup::Evicted { .. }));
    assert!(matches!(lease.lookup(&[19; 32]).expect("it answers"), CacheLookup::Hit(_)), "the youngest stays");
    assert!(matches!(lease.lookup(&[3; 32]).expect("it answers"), CacheLookup::Hit(_)), "what is in use stays");
    let too_much = BlobExpectation::exactly(stave_oci::BlobDigest::of(b""), limit);
    let error = lease.blob_writer(too_much).expect_err("there is no room");
    assert!(matches!(error, StoreError::Limit { .. }), "{error}");
    assert!(error.to_string().contains("pass its limit of"), "{error}");
    drop(lease);
    assert_clean(&store);
}

#[test]
fn what_grows_unseen_is_stopped_before_the_limit() {
    let bench = Bench::new();
    let base = du(bench.open().root());
    let limit = base + 40_000_000;
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    let options =
        StoreOptions { on_full: Some(Arc::new(move || tell.store(true, Ordering::SeqCst))), ..limited(&bench, limit) };
    let store = Store::open(&bench.root(), options).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    let work = lease.work_dir().expect("there is room to begin");
    let mut file = std::fs::File::create(store.path_of(&work.diff_rel_path()).join("grows")).expect("made");
    file.write_all(&vec![1; 32_000_000]).expect("written");
    let start = Instant::now();
    // The machine may be busy: a second of this is less than what is left of the room at the last look.
    while !told.load(Ordering::SeqCst) {
        assert!(start.elapsed() < Duration::from_mins(1), "nobody looked");
        file.write_all(&[1; 16 << 10]).expect("written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(du(&bench.root()) <= limit, "{} of {limit}", du(&bench.root()));
    assert!(matches!(lease.publish_layer(work, None), Err(StoreError::Limit { .. })), "nothing is published after it");
    drop(lease);
    // The next process begins anew.
    let store = Store::open(&bench.root(), limited(&bench, limit)).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    layer(&lease, "small");
    drop(lease);
    assert_clean(&store);
}

#[test]
fn what_grows_faster_than_it_is_looked_at_becomes_no_layer() {
    let bench = Bench::new();
    let base = du(bench.open().root());
    let store = Store::open(&bench.root(), limited(&bench, base + 4_000_000)).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    let work = lease.work_dir().expect("there is room to begin");
    let path = store.path_of(&work.diff_rel_path());
    std::fs::write(path.join("large"), vec![1; 8_000_000]).expect("written");
    let error = lease.publish_layer(work, None).expect_err("it is over the limit");
    let StoreError::Limit { limit, used, needed } = error else { panic!("{error}") };
    assert!(used > limit && needed > 0, "{used} of {limit}, {needed} needed");
    assert!(!path.exists(), "its files are gone");
    drop(lease);
    assert!(du(&bench.root()) <= base + 4_000_000);
    assert_clean(&store);
}

#[test]
fn the_limit_of_a_store_holds_for_whoever_opens_it() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(store.size_limit().expect("it answers"), None);
    store.set_size_limit(Some(1_000_000)).expect("it is set");
    let store = bench.open();
    assert_eq!(store.size_limit().expect("it answers"), Some(1_000_000));
    let lease = store.lease().expect("a lease is given");
    let mut writer = lease.blob_writer(BlobExpectation::none()).expect("it begins");
    let error = writer.write_all(&vec![0; 8 << 20]).expect_err("it does not fit");
    assert!(error.to_string().contains("limit of 1.0 MB"), "{error}");
    assert!(matches!(lease.put_blob(&vec![0; 8 << 20]), Err(BlobError::Store(StoreError::Limit { .. }))));
    drop((writer, lease));
    let options = StoreOptions { limit: SizeLimit::Given(None), ..bench.options("boot-1") };
    let free = Store::open(&bench.root(), options).expect("the store opens");
    free.lease().expect("a lease is given").put_blob(&vec![0; 8 << 20]).expect("this process has no limit");
    store.set_size_limit(None).expect("it is taken away");
    assert_eq!(bench.open().size_limit().expect("it answers"), None);
}

#[test]
fn the_history_of_builds_keeps_within_its_limits() {
    let bench = Bench::new();
    let store = bench.open();
    for number in 0..30 {
        let lease = store.lease().expect("a lease is given");
        let build = lease.begin_build(&format!("build {number}")).expect("it begins");
        let logs = store.path_of(&store.build_logs_rel_path(&build));
        std::fs::write(logs.join("1.log"), vec![b'x'; 40_000]).expect("written");
        lease.finish_build(&build, BuildState::Done, None).expect("it ends");
        bench.advance(1);
    }
    assert_eq!(store.trim_builds(HistoryLimit { count_max: 20, bytes_max: u64::MAX }).expect("it is trimmed"), 10);
    let kept = store.builds(100).expect("they are listed");
    assert_eq!((kept.len(), kept[0].title.as_str(), kept[19].title.as_str()), (20, "build 29", "build 10"));
    let limit = HistoryLimit { count_max: 20, bytes_max: 300_000 };
    store.set_history_limit(limit).expect("it is set");
    assert_eq!(bench.open().history_limit().expect("it answers"), limit);
    store.trim_builds(limit).expect("it is trimmed");
    let usage = store.usage().expect("it is measured").builds;
    assert!(usage.count > 0 && usage.bytes <= 300_000 + 8192, "{usage:?}");
    assert_clean(&store);
}

#[test]
fn a_build_of_the_history_is_removed_with_all_that_it_keeps_and_never_while_it_runs() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let kept = layer(&lease, "what it left");
    let failed = lease.begin_build("failed").expect("it begins");
    lease.keep_state(&failed, &[kept], 9).expect("it is kept");
    lease.finish_build(&failed, BuildState::Failed, None).expect("it ends");
    let running = lease.begin_build("running").expect("it begins");
    assert!(matches!(store.remove_build(&running), Err(BuildError::Running(id)) if id == running));
    store.remove_build(&failed).expect("it is removed");
    assert!(matches!(store.remove_build(&failed), Err(BuildError::NotFound(_))));
    drop(lease);
    assert!(!store.path_of(&store.build_logs_rel_path(&failed)).exists());
    store.prune(&PruneOptions { images_only: true, ..PruneOptions::default() }).expect("it is pruned");
    assert!(!store.path_of(&store.layer_rel_path(kept)).exists());
    let left: Vec<_> = store.builds(9).expect("they are listed").into_iter().map(|build| build.title).collect();
    assert_eq!(left, ["running"]);
    assert_clean(&store);
}

#[test]
fn what_a_killed_build_has_written_counts_as_well() {
    let bench = Bench::new();
    let store = bench.open();
    let limit = HistoryLimit { count_max: 9, bytes_max: 300_000 };
    let write = |ended: bool| {
        let lease = store.lease().expect("a lease is given");
        let build = lease.begin_build("build").expect("it begins");
        let logs = store.path_of(&store.build_logs_rel_path(&build));
        std::fs::write(logs.join("1.log"), vec![b'x'; 200_000]).expect("written");
        if ended {
            lease.finish_build(&build, BuildState::Done, None).expect("it ends");
        }
    };
    write(true);
    assert_eq!(store.trim_builds(limit).expect("it is trimmed"), 0);
    // It ends with its lease only, as that of a process that is gone.
    write(false);
    assert_eq!(store.trim_builds(limit).expect("it is trimmed"), 1);
    write(true);
    assert_eq!(store.trim_builds(limit).expect("it is trimmed"), 1);
}

#[test]
fn states_of_failed_builds_are_given_up_before_results_and_the_oldest_first() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let result = layer(&lease, &"r".repeat(1_000_000));
    lease.record(&record(1, &[result])).expect("it is recorded");
    let mut states = Vec::new();
    for number in 0..3 {
        let kept = layer(&lease, &format!("{number}").repeat(1_000_000));
        let build = lease.begin_build("failing").expect("it begins");
        lease.keep_state(&build, &[result, kept], 9).expect("it is kept");
        lease.finish_build(&build, BuildState::Failed, None).expect("it ends");
        states.push((build, kept));
    }
    drop(lease);
    let total = store.usage().expect("it is measured").total_bytes();
    let options = PruneOptions { keep_bytes: Some(total - 1_500_000), cache_only: true, ..PruneOptions::default() };
    store.prune(&options).expect("it is pruned");
    let kept: Vec<bool> =
        states.iter().map(|(build, _)| !store.kept_state(build).expect("the store answers").is_empty()).collect();
    assert_eq!(kept, [false, false, true]);
    assert!(!store.path_of(&store.layer_rel_path(states[0].1)).exists());
    let lease = store.lease().expect("a lease is given");
    assert!(matches!(lease.lookup(&[1; 32]).expect("the store answers"), CacheLookup::Hit(_)));
    drop(lease);
    assert_clean(&store);
}
