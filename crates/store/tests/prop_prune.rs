//! Whatever is published, pinned, pruned, settled and restarted, in any order: what is pinned is there, a hit is whole,
//! and the store is clean.

mod common;

use std::collections::BTreeMap;

use common::{Bench, PathOf, assert_clean, layer, record};
use proptest::prelude::*;
use stave_store::{CacheLookup, LayerId, Lease, PruneOptions, Store};

#[derive(Debug, Clone)]
enum Step {
    /// Publishes a layer on the result of another key and records both.
    Build {
        key: u8,
        on: u8,
    },
    /// Takes a hit and keeps its lease.
    Hold {
        key: u8,
    },
    /// Drops a lease that was kept.
    LetGo {
        key: u8,
    },
    Prune {
        keep: Option<u16>,
        until: Option<u8>,
    },
    Settle,
    /// Ends everything and starts again, with the same boot or the next one.
    Restart {
        reboot: bool,
    },
    Wait {
        hours: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..6_u8, 0..6_u8).prop_map(|(key, on)| Step::Build { key, on }),
        2 => (0..6_u8).prop_map(|key| Step::Hold { key }),
        2 => (0..6_u8).prop_map(|key| Step::LetGo { key }),
        2 => (proptest::option::of(any::<u16>()), proptest::option::of(0..20_u8))
            .prop_map(|(keep, until)| Step::Prune { keep, until }),
        1 => Just(Step::Settle),
        1 => any::<bool>().prop_map(|reboot| Step::Restart { reboot }),
        1 => (0..5_u8).prop_map(|hours| Step::Wait { hours }),
    ]
}

struct World {
    bench: Bench,
    store: Option<Store>,
    boot: u32,
    held: BTreeMap<u8, (Lease, Vec<LayerId>)>,
    /// Results that are on the disk, whatever happens.
    settled: BTreeMap<u8, Vec<LayerId>>,
    latest: BTreeMap<u8, Vec<LayerId>>,
}

fn hit(lease: &Lease, key: u8) -> Option<Vec<LayerId>> {
    match lease.lookup(&[key; 32]).expect("the store answers") {
        CacheLookup::Hit(hit) => Some(hit.snapshot),
        CacheLookup::Miss | CacheLookup::Evicted { .. } => None,
    }
}

impl World {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open between steps")
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Build { key, on } => {
                let lease = self.store().lease().expect("a lease is given");
                let mut snapshot = hit(&lease, on).unwrap_or_default();
                snapshot.push(layer(&lease, &format!("{key} on {on}")));
                lease.record(&record(key, &snapshot)).expect("it is recorded");
                self.latest.insert(key, snapshot);
                self.settled.remove(&key);
            }
            Step::Hold { key } => {
                let lease = self.store().lease().expect("a lease is given");
                if let Some(snapshot) = hit(&lease, key) {
                    self.held.insert(key, (lease, snapshot));
                }
            }
            Step::LetGo { key } => drop(self.held.remove(&key)),
            Step::Prune { keep, until } => {
                let until = until.map(|hours| 1_000_000 + i64::from(hours) * 3600);
                let keep_bytes = keep.map(|kilobytes| u64::from(kilobytes) << 10);
                let options = PruneOptions { keep_bytes, until, ..PruneOptions::default() };
                self.store().prune(&options).expect("it is pruned");
                self.settled.clear();
            }
            Step::Settle => {
                self.store().settle().expect("it settles");
                let lease = self.store().lease().expect("a lease is given");
                let hits = self.latest.keys().filter_map(|&key| Some((key, hit(&lease, key)?)));
                self.settled = hits.collect();
            }
            Step::Restart { reboot } => {
                self.held.clear();
                self.store = None;
                self.boot += u32::from(reboot);
                self.store = Some(self.bench.try_open(&format!("boot-{}", self.boot)).expect("the store opens"));
            }
            Step::Wait { hours } => self.bench.advance(u64::from(hours) * 3600),
        }
    }

    fn examine(&self) {
        let is_there = |layer: &LayerId| self.store().path_of(&self.store().layer_rel_path(*layer)).is_dir();
        for (key, (_, snapshot)) in &self.held {
            assert!(snapshot.iter().all(is_there), "what the lease on {key} has pinned is there");
        }
        let lease = self.store().lease().expect("a lease is given");
        for (key, expected) in &self.latest {
            if let Some(snapshot) = hit(&lease, *key) {
                assert_eq!(&snapshot, expected, "a hit is the latest result");
                assert!(snapshot.iter().all(is_there), "a hit is whole");
            }
        }
        for (key, expected) in &self.settled {
            assert_eq!(hit(&lease, *key).as_ref(), Some(expected), "what was settled is not lost");
        }
        drop(lease);
        assert_clean(self.store());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn pins_hold_hits_are_whole_and_the_store_is_clean(steps in proptest::collection::vec(step(), 1..25)) {
        let bench = Bench::new();
        let store = Some(bench.try_open("boot-0").expect("the store opens"));
        let (held, settled, latest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut world = World { bench, store, boot: 0, held, settled, latest };
        for step in &steps {
            world.apply(step);
            world.examine();
        }
    }
}
