//! Cache mounts: who may have one, who must wait, and that nobody loses one that is in use.

mod common;

use std::fs;

use common::{Bench, PathOf as _, assert_clean, check, list};
use stave_store::{CacheAccess, CacheAnswer, CacheMount, CacheName, Problem, PruneOptions, Store};

fn name(number: u8) -> CacheName {
    CacheName::new(&[number; 32])
}

fn make(store: &Store, name: &CacheName) -> bool {
    let lease = store.lease().expect("a lease is given");
    let work = lease.work_dir().expect("a work directory is made");
    fs::create_dir(work.path().join("diff/data")).expect("it can be made");
    lease.publish_cache(work, name, "/root/.cache").expect("it can be published")
}

fn held(store: &Store, name: &CacheName, access: CacheAccess) -> CacheMount {
    match store.cache_mount(name, access).expect("it can be asked for") {
        CacheAnswer::Held(cache) => cache,
        other => panic!("{other:?}"),
    }
}

fn is_busy(store: &Store, name: &CacheName, access: CacheAccess) -> bool {
    matches!(store.cache_mount(name, access).expect("it can be asked for"), CacheAnswer::Busy)
}

/// T150: sharers meet, whoever is alone excludes all, also from another opening of the store.
#[test]
fn a_cache_is_shared_or_one_holders_alone() {
    let bench = Bench::new();
    let (store, other) = (bench.open(), bench.open());
    let name = name(1);
    assert!(matches!(store.cache_mount(&name, CacheAccess::Shared).expect("asked"), CacheAnswer::Missing));
    assert!(make(&store, &name));
    assert!(!make(&other, &name), "the second one is deleted");
    let (one, two) = (held(&store, &name, CacheAccess::Shared), held(&other, &name, CacheAccess::Shared));
    assert_eq!(one.rel_path(), two.rel_path());
    assert!(store.path_of(&one.rel_path()).is_dir());
    assert!(is_busy(&other, &name, CacheAccess::Exclusive));
    drop((one, two));
    let alone = held(&store, &name, CacheAccess::Exclusive);
    assert!(is_busy(&other, &name, CacheAccess::Shared) && is_busy(&store, &name, CacheAccess::Exclusive));
    let mut next = name.clone();
    next.instance = 1;
    assert!(make(&other, &next));
    assert_ne!(held(&other, &next, CacheAccess::Exclusive).rel_path(), alone.rel_path());
    drop(alone);
    assert_eq!(list(&bench.root().join("tmp")), [""; 0]);
    assert_clean(&store);
}

#[test]
fn prune_takes_old_caches_that_nobody_uses_and_no_others() {
    let bench = Bench::new();
    let store = bench.open();
    for number in 1..=3 {
        assert!(make(&store, &name(number)));
        drop(held(&store, &name(number), CacheAccess::Shared));
        bench.advance(100);
    }
    let used = held(&store, &name(1), CacheAccess::Shared);
    fs::write(store.path_of(&used.rel_path()).join("file"), vec![7; 100_000]).expect("it can be written");
    assert!(store.usage().expect("it can be measured").cache_mounts.bytes > 100_000);
    let count = store.usage().map(|usage| usage.cache_mounts.count).expect("it can be measured");
    assert_eq!(count, 3);
    let until = (bench.options("boot").clock)().as_secs().cast_signed() - 150;
    let pruned =
        store.prune(&PruneOptions { until: Some(until), ..PruneOptions::default() }).expect("it can be pruned");
    assert_eq!(pruned.cache_mounts, 1, "the first is used, the third is young");
    assert!(matches!(store.cache_mount(&name(2), CacheAccess::Shared).expect("asked"), CacheAnswer::Missing));
    let pruned = store.prune(&PruneOptions::default()).expect("it can be pruned");
    assert_eq!(pruned.cache_mounts, 1);
    assert!(store.path_of(&used.rel_path()).join("file").is_file());
    assert_clean(&store);
    drop(used);
    let pruned =
        store.prune(&PruneOptions { keep_bytes: Some(0), ..PruneOptions::default() }).expect("it can be pruned");
    assert_eq!(pruned.cache_mounts, 1);
    assert!(pruned.bytes > 100_000);
    assert_clean(&store);
}

#[test]
fn check_finds_what_is_no_cache() {
    let bench = Bench::new();
    let store = bench.open();
    assert!(make(&store, &name(1)));
    assert_clean(&store);
    fs::create_dir(bench.root().join("caches/..x")).expect("it can be made");
    fs::create_dir(bench.root().join("caches/00000000000000000000000000000000.0")).expect("it can be made");
    let problems = check(&store).problems;
    let orphan = |name: &str| Problem::Orphan(format!("caches/{name}"));
    assert_eq!(problems, [orphan("..x"), orphan("00000000000000000000000000000000.0")]);
}
