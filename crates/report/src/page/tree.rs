//! A tree of sizes, as much of it as is worth reading: the largest directories are opened, the smallest things counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use maud::{Markup, html};
use stave_anatomy::{Anatomy, Kind, Place};

use super::places::bar_of_two;
use crate::measure::{counted, size};
use crate::text;

/// Things of one directory that are listed.
const CHILDREN_MAX: usize = 40;
/// Those that are listed however small they are; others that are less than one of so many parts of the whole are only counted.
const CHILDREN_MIN: usize = 3;
const SMALL: u64 = 1_000;
/// Directories in each other that are opened.
const DEPTH_MAX: usize = 30;
/// Layers that are named in one line.
const LAYERS_NAMED: usize = 5;

/// Whose bytes count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// All layers'.
    All,
    /// One layer's.
    Layer(u32),
}

/// Bytes of something, and what of them can be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) bytes: u64,
    pub(super) visible: u64,
}

impl Of {
    pub(super) fn weigh(self, place: Place<'_>) -> Weight {
        match self {
            Self::All => {
                let totals = place.totals();
                Weight { bytes: totals.bytes, visible: totals.visible }
            }
            Self::Layer(layer) => place
                .share(layer)
                .map_or_else(Weight::default, |share| Weight { bytes: share.bytes, visible: share.visible }),
        }
    }
}

/// What is listed of a directory.
struct Listing {
    /// Places of its largest children.
    shown: Vec<usize>,
    others: usize,
    others_bytes: u64,
}

/// A tree while it is drawn.
struct Tree<'a> {
    anatomy: &'a Anatomy,
    of: Of,
    /// The directories that are opened, by their places.
    opened: BTreeMap<usize, Listing>,
    whole: u64,
}

/// Draws the tree of an image with about so many lines.
pub(super) fn tree(anatomy: &Anatomy, of: Of, lines: usize) -> Markup {
    let whole = anatomy.root().map_or(0, |root| of.weigh(root).bytes);
    let mut tree = Tree { anatomy, of, opened: BTreeMap::new(), whole };
    tree.open(lines);
    html! { div.tree { (tree.below(0)) } }
}

impl Tree<'_> {
    /// Opens directories, the largest first, until there are as many lines.
    fn open(&mut self, lines: usize) {
        let mut room = lines;
        let mut largest = BinaryHeap::from([(self.whole, Reverse(0_usize), 0_usize)]);
        while let Some((_, Reverse(index), depth)) = largest.pop() {
            let Some(place) = self.anatomy.place(index).filter(|_| room > 0) else { break };
            let mut children: Vec<(u64, Place<'_>)> = place
                .children()
                .map(|child| (self.of.weigh(child).bytes, child))
                .filter(|(bytes, _)| *bytes > 0)
                .collect();
            children.sort_by_key(|(bytes, child)| (Reverse(*bytes), child.index()));
            let large = children.partition_point(|(bytes, _)| bytes.saturating_mul(SMALL) >= self.whole);
            let shown = large.max(CHILDREN_MIN).min(children.len()).min(CHILDREN_MAX).min(room);
            let others = children.split_off(shown);
            room -= shown;
            for (bytes, child) in &children {
                if child.node().kind == Kind::Directory && child.node().below > 0 && depth < DEPTH_MAX {
                    largest.push((*bytes, Reverse(child.index()), depth + 1));
                }
            }
            let listing = Listing {
                shown: children.into_iter().map(|(_, child)| child.index()).collect(),
                others: others.len(),
                others_bytes: others.iter().map(|(bytes, _)| bytes).sum(),
            };
            self.opened.insert(index, listing);
        }
    }

    /// What is listed below a directory. It recurses as deep as directories are opened.
    fn below(&self, index: usize) -> Markup {
        let Some(listing) = self.opened.get(&index) else { return html! {} };
        html! {
            ul {
                @for place in listing.shown.iter().filter_map(|&child| self.anatomy.place(child)) {
                    li {
                        @if self.opened.get(&place.index()).is_some_and(|listing| !listing.shown.is_empty()) {
                            details { summary { (self.line(place)) } (self.below(place.index())) }
                        } @else {
                            div.leaf { (self.line(place)) }
                        }
                    }
                }
                @if listing.others > 0 {
                    li.others { (counted(listing.others, "smaller thing")) ", " (size(listing.others_bytes)) }
                }
            }
        }
    }

    fn line(&self, place: Place<'_>) -> Markup {
        let (node, weight) = (place.node(), self.of.weigh(place));
        let lost = weight.bytes - weight.visible;
        let part = |bytes: u64| ratio(bytes, self.whole);
        html! {
            span.row {
                code.name { (text::cut(&node.name, 80)) @if node.kind == Kind::Directory { "/" } }
                span.size { (size(weight.bytes)) }
                (bar_of_two(part(weight.visible), part(lost)))
                span.what {
                    @if matches!(self.of, Of::All) { (layers(place)) }
                    @if lost > 0 { " " strong.lost { (if weight.visible == 0 { "all" } else { "" }) " " (size(lost)) " for nothing" } }
                }
            }
        }
    }
}

/// Says which layers have something there.
fn layers(place: Place<'_>) -> String {
    let shares: Vec<String> = place
        .node()
        .shares
        .iter()
        .filter(|share| share.bytes > 0)
        .map(|share| (u64::from(share.layer) + 1).to_string())
        .collect();
    match shares.len() {
        0 => String::new(),
        1 => format!("layer {}", shares[0]),
        count if count > LAYERS_NAMED => {
            format!("layers {} and {} others", shares[..LAYERS_NAMED].join(", "), count - LAYERS_NAMED)
        }
        _ => format!("layers {}", shares.join(", ")),
    }
}

/// A part of a whole, from 0 to 1.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    // Digits beyond those of a fraction are no dots of a screen.
    let thousandths = u128::from(part) * 100_000 / u128::from(whole.max(1));
    u32::try_from(thousandths).map_or(1.0, f64::from) / 100_000.0
}
