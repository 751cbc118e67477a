//! Laws of the tree of sizes, for any layers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use stave_anatomy::{Anatomy, Builder, Entry, Layer, Lost, Place, What};

const BLOCK: u64 = 512;

/// What a generated layer does at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Directory {
        opaque: bool,
    },
    /// A file with content, by its blocks; those of one group in one layer are names of one file.
    File {
        blocks: u64,
        group: Option<u8>,
    },
    Link,
    Whiteout,
}

/// A layer: its entries in the order of a tar, which is that of paths whose slashes are the least of all bytes.
type Acts = BTreeMap<Vec<u8>, Act>;

fn acts() -> impl Strategy<Value = Acts> {
    let name = prop::sample::select(vec!["a", "a-b", "b", "c"]);
    let path = vec(name, 1..4).prop_map(|names| names.join("\0").into_bytes());
    let act = prop_oneof![
        3 => (0..6_u64, prop::option::weighted(0.4, 0..2_u8)).prop_map(|(blocks, group)| Act::File { blocks, group }),
        1 => any::<bool>().prop_map(|opaque| Act::Directory { opaque }),
        1 => Just(Act::Link),
        1 => Just(Act::Whiteout),
    ];
    vec((path, act), 0..12).prop_map(|wanted| {
        let mut acts = Acts::new();
        for (path, act) in wanted {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(end, _)| end);
            let above: Vec<&[u8]> = ends.map(|end| &path[..end]).collect();
            let is_free = above.iter().all(|dir| matches!(acts.get(*dir), None | Some(Act::Directory { .. })));
            if is_free && !acts.contains_key(&path) {
                for dir in above {
                    acts.entry(dir.to_vec()).or_insert(Act::Directory { opaque: false });
                }
                acts.insert(path, act);
            }
        }
        acts
    })
}

/// An entry as a tar has it.
struct Made {
    path: Vec<u8>,
    act: Act,
    bytes: u64,
    first: Option<Vec<u8>>,
}

/// Returns a layer's entries: of files with several names, the first has the content.
fn entries(acts: &Acts) -> Vec<Made> {
    let mut firsts: BTreeMap<u8, (Vec<u8>, u64)> = BTreeMap::new();
    let entry = |(key, act): (&Vec<u8>, &Act)| {
        let path: Vec<u8> = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
        let (mut act, mut first) = (*act, None);
        let mut bytes = if act == (Act::Directory { opaque: true }) { 2 * BLOCK } else { BLOCK };
        if let Act::File { blocks, group } = &mut act {
            match group.and_then(|group| firsts.get(&group)) {
                Some((path, content)) => (first, *blocks) = (Some(path.clone()), *content),
                None => bytes += *blocks * BLOCK,
            }
            if let Some(group) = group {
                firsts.entry(*group).or_insert((path.clone(), *blocks));
            }
        }
        Made { path, act, bytes, first }
    };
    acts.iter().map(entry).collect()
}

fn anatomy(layers: &[Vec<Made>]) -> Anatomy {
    let mut builder = Builder::new();
    for layer in layers {
        builder.layer(Layer::default());
        for made in layer {
            let what = match (made.act, &made.first) {
                (Act::Directory { opaque }, _) => What::Directory { hides: opaque.then_some(BLOCK) },
                (Act::File { .. }, Some(of)) => What::HardLink { of },
                (Act::File { blocks, .. }, None) => What::File { content: blocks * BLOCK },
                (Act::Link, _) => What::Link,
                (Act::Whiteout, _) => What::Whiteout,
            };
            builder.entry(&Entry { path: &made.path, what, bytes: made.bytes }).expect("these are few");
        }
    }
    builder.finish()
}

/// Returns the paths that can be seen, each with the layer that it is in, made in the simplest way.
fn merged(layers: &[Vec<Made>]) -> BTreeMap<Vec<u8>, (usize, Act)> {
    let mut all: BTreeMap<Vec<u8>, (usize, Act)> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        for made in layer {
            let was_directory = matches!(all.get(&made.path), Some((_, Act::Directory { .. })));
            let keeps = made.act == Act::Directory { opaque: false } && was_directory;
            if !keeps {
                let below = [&made.path, b"/".as_slice()].concat();
                all.retain(|path, _| !path.starts_with(&below));
            }
            if made.act == Act::Whiteout {
                all.remove(&made.path);
            } else {
                all.insert(made.path.clone(), (index, made.act));
            }
        }
    }
    all
}

/// Returns the bytes of a tar of what can be seen of one layer.
fn visible(merged: &BTreeMap<Vec<u8>, (usize, Act)>, wanted: usize) -> u64 {
    let mut groups = BTreeSet::new();
    let bytes = |(layer, act): &(usize, Act)| match act {
        _ if *layer != wanted => 0,
        Act::File { blocks, group } if group.is_none_or(|group| groups.insert(group)) => BLOCK + blocks * BLOCK,
        _ => BLOCK,
    };
    merged.values().map(bytes).sum()
}

fn check_sums(place: Place<'_>, layers: &[Vec<Made>], path: &str) {
    for share in &place.node().shares {
        let below: u64 = place.children().filter_map(|child| child.share(share.layer)).map(|share| share.bytes).sum();
        let own = layers[share.layer as usize].iter().any(|made| made.path == path.as_bytes());
        if place.children().next().is_some() && own && place.node().losses.is_empty() {
            assert_eq!(share.bytes, below + BLOCK, "{path}");
        }
        assert!(share.bytes >= below && share.visible <= share.bytes, "{path}");
        let lost: u64 =
            place.node().losses.iter().filter(|loss| loss.layer == share.layer).map(|loss| loss.bytes).sum();
        assert_eq!(share.bytes - share.visible, lost, "{path}");
    }
    for child in place.children() {
        let below =
            if path.is_empty() { child.node().name.to_string() } else { format!("{path}/{}", child.node().name) };
        assert_eq!(
            place.children().find(|other| other.node().name == child.node().name).map(Place::index),
            Some(child.index())
        );
        check_sums(child, layers, &below);
    }
}

proptest! {
    /// What the tree says is shipped is what the layers have, what it says can be seen is what the merged view has, and
    /// the rest is lost.
    #[test]
    fn the_sums_of_the_tree_are_those_of_the_layers_and_of_the_merged_view(wanted in vec(acts(), 0..5)) {
        let layers: Vec<Vec<Made>> = wanted.iter().map(entries).collect();
        let (anatomy, merged) = (anatomy(&layers), merged(&layers));
        let root = anatomy.root().expect("there is always a root");
        for (index, layer) in layers.iter().enumerate() {
            let share = root.share(u32::try_from(index).expect("they are few"));
            let shipped: u64 = layer.iter().map(|made| made.bytes).sum();
            prop_assert_eq!(share.map_or(0, |share| share.bytes), shipped);
            prop_assert_eq!(share.map_or(0, |share| share.visible), visible(&merged, index));
        }
        let lost: u64 = root.node().losses.iter().map(|loss| loss.bytes).sum();
        prop_assert_eq!(anatomy.totals().wasted(), lost);
        check_sums(root, &layers, "");
    }

    /// What is written as JSON is read as the same.
    #[test]
    fn an_anatomy_survives_json(wanted in vec(acts(), 0..4)) {
        let layers: Vec<Vec<Made>> = wanted.iter().map(entries).collect();
        let anatomy = anatomy(&layers);
        let text = serde_json::to_string(&anatomy).expect("it can be written");
        prop_assert_eq!(serde_json::from_str::<Anatomy>(&text).expect("it can be read"), anatomy);
    }

    /// A deletion is lost to itself, and whatever is lost to a layer was shipped by it or by one below.
    #[test]
    fn nothing_is_lost_to_an_earlier_layer(wanted in vec(acts(), 1..5)) {
        let layers: Vec<Vec<Made>> = wanted.iter().map(entries).collect();
        for node in &anatomy(&layers).nodes {
            for loss in &node.losses {
                prop_assert_eq!(loss.how == Lost::Deletion, loss.by == loss.layer);
                prop_assert!(loss.by >= loss.layer);
            }
        }
    }
}
