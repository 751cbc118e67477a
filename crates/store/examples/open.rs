//! Measures what a build in which nothing changed asks of the store, and prints medians in microseconds.
//!
//! `cargo run --release -p stave-store --example open [DIRECTORY]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it is a benchmark: it prints, and it may stop")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stave_oci::ImageId;
use stave_store::{BuildState, CacheLookup, CacheRecord, LayerId, Store, StoreOptions};

fn open(root: &Path) -> Store {
    Store::open(root, StoreOptions::new("boot", Arc::new(|| std::time::Duration::from_secs(1_000_000)))).unwrap()
}

fn record(key: u32, snapshot: Vec<LayerId>) -> CacheRecord {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&key.to_le_bytes());
    let (title, inputs) = (format!("RUN {key}"), vec![snapshot.clone()]);
    CacheRecord {
        key: bytes,
        op: bytes,
        inputs,
        selection: None,
        snapshot,
        title,
        took: None,
        created: 0,
        last_used: 0,
    }
}

fn fill(root: &Path, records: u32) {
    let store = open(root);
    let lease = store.lease().unwrap();
    let layers: Vec<LayerId> = (0..40).map(|_| lease.publish_layer(lease.work_dir().unwrap(), None).unwrap()).collect();
    for key in 0..records {
        lease.record(&record(key, layers.clone())).unwrap();
    }
    drop(lease);
    store.settle().unwrap();
}

fn measure(name: &str, mut work: impl FnMut(u32)) {
    let mut times: Vec<u128> = (0..200)
        .map(|turn| {
            let start = Instant::now();
            work(turn);
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    println!("{name:<60} {:>6} us   p90 {:>6} us", times[100], times[180]);
}

fn main() {
    let directory = match std::env::args().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let root = directory.path().join("store");
    fill(&root, 2000);
    measure("open, close", |_| drop(open(&root)));
    measure("open, look one record of 40 layers up, close", |turn| {
        let store = open(&root);
        let lease = store.lease().unwrap();
        assert!(matches!(lease.lookup(&record(turn, vec![]).key).unwrap(), CacheLookup::Hit(_)));
    });
    measure("the same with a history entry and its log directory", |turn| {
        let store = open(&root);
        let lease = store.lease().unwrap();
        let build = lease.begin_build("build").unwrap();
        assert!(matches!(lease.lookup(&record(turn, vec![]).key).unwrap(), CacheLookup::Hit(_)));
        lease.finish_build(&build, BuildState::Done, None::<&ImageId>).unwrap();
    });
    let store = open(&root);
    let lease = store.lease().unwrap();
    measure("publish one layer and record it", |turn| {
        let layer = lease.publish_layer(lease.work_dir().unwrap(), None).unwrap();
        lease.record(&record(10_000 + turn, vec![layer])).unwrap();
    });
    measure("look one record up", |turn| {
        assert!(matches!(lease.lookup(&record(turn, vec![]).key).unwrap(), CacheLookup::Hit(_)));
    });
    measure("settle one new layer", |_| {
        lease.publish_layer(lease.work_dir().unwrap(), None).unwrap();
        store.settle().unwrap();
    });
}
