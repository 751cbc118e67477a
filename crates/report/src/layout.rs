//! Gives the nodes of a diagram their places: in columns from left to right, so that every edge goes to the right.
//!
//! The usual four parts: columns by the longest way, an order within them by the means of neighbours, heights that keep
//! the order and are near to their neighbours, and lines. Its work grows with edges times columns that they cross, which is
//! bounded by [`BENDS_MAX`].
//!
//! Reference: Sugiyama, Tagawa and Toda, 1981; the heights are an isotonic regression (pool adjacent violators).

use std::collections::BTreeMap;

use crate::diagram::{Diagram, NodeKind};
use crate::text;

/// Height of a node in pixels.
const NODE_HEIGHT: f64 = 44.0;
/// Between the nodes of a column.
const GAP: f64 = 14.0;
/// Between a node and a line that passes by, or two lines.
const BEND_GAP: f64 = 8.0;
/// Between columns.
const COLUMN_GAP: f64 = 56.0;
/// Around the picture.
const MARGIN: f64 = 8.0;
/// Width of a letter of a name.
const LETTER: f64 = 7.4;
/// Width of a letter of a note.
const NOTE_LETTER: f64 = 6.6;
/// Blank on both sides of a text.
const PADDING: f64 = 24.0;
/// Columns of letters of a name, at most.
const NAME_COLUMNS: usize = 26;
/// The same of a step's, which is an instruction.
const STEP_COLUMNS: usize = 44;
/// Bends of long edges, at most; if there were more, edges go straight through what stands between.
const BENDS_MAX: usize = 20_000;
/// How often the order, and then the heights, are made better.
const SWEEPS: usize = 8;

/// A picture: boxes and lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// One for each node.
    pub(crate) boxes: Vec<Place>,
    /// One for each edge: its points, from left to right.
    pub(crate) lines: Vec<Vec<(f64, f64)>>,
}

/// The place of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Its name, as much as fits.
    pub(crate) name: String,
}

/// What stands in a column: a node, or the bend of all lines from a node that pass by.
#[derive(Debug, Clone, Copy)]
struct Item {
    height: f64,
    is_bend: bool,
    y: f64,
}

/// The columns while they are put in order.
struct Columns {
    items: Vec<Item>,
    /// Items of each column, from top to bottom.
    order: Vec<Vec<usize>>,
    /// For each item its neighbours in the column before it, and in the one after it.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// For each edge the items that it goes through.
    ways: Vec<Vec<usize>>,
}

/// Gives every node its place.
pub(crate) fn layout(diagram: &Diagram) -> Layout {
    let ranks = ranks(diagram);
    let mut columns = Columns::new(diagram, &ranks);
    columns.untangle();
    columns.level();
    columns.picture(diagram, &ranks)
}

/// Returns the column of each node: one after the last of what it reads. What reads nothing stands before its first reader.
fn ranks(diagram: &Diagram) -> Vec<usize> {
    let mut ranks = vec![0; diagram.nodes.len()];
    let mut has_inputs = vec![false; diagram.nodes.len()];
    let mut edges = diagram.edges.clone();
    edges.sort_unstable_by_key(|edge| edge.to);
    for edge in &edges {
        ranks[edge.to] = ranks[edge.to].max(ranks[edge.from] + 1);
        has_inputs[edge.to] = true;
    }
    let mut readers: Vec<Option<usize>> = vec![None; diagram.nodes.len()];
    for edge in &edges {
        let first = readers[edge.from].get_or_insert(ranks[edge.to]);
        *first = (*first).min(ranks[edge.to]);
    }
    for (node, rank) in ranks.iter_mut().enumerate().filter(|(node, _)| !has_inputs[*node]) {
        *rank = readers[node].map_or(0, |reader| reader.saturating_sub(1));
    }
    ranks
}

impl Columns {
    fn new(diagram: &Diagram, ranks: &[usize]) -> Self {
        let count = ranks.iter().max().map_or(0, |last| last + 1);
        let node = Item { height: NODE_HEIGHT, is_bend: false, y: 0.0 };
        let mut items = vec![node; ranks.len()];
        let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (item, &rank) in ranks.iter().enumerate() {
            columns[rank].push(item);
        }
        let between = |edge: &crate::diagram::Edge| ranks[edge.from] + 1..ranks[edge.to];
        let bends: usize = diagram.edges.iter().map(|edge| between(edge).len()).fold(0, usize::saturating_add);
        let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut ways = Vec::new();
        for edge in &diagram.edges {
            let mut way = vec![edge.from];
            for rank in between(edge).filter(|_| bends <= BENDS_MAX) {
                way.push(*shared.entry((edge.from, rank)).or_insert_with(|| {
                    items.push(Item { height: 0.0, is_bend: true, y: 0.0 });
                    columns[rank].push(items.len() - 1);
                    items.len() - 1
                }));
            }
            way.push(edge.to);
            ways.push(way);
        }
        let (mut before, mut after) = (vec![Vec::new(); items.len()], vec![Vec::new(); items.len()]);
        let mut pairs: Vec<(usize, usize)> =
            ways.iter().flat_map(|way| way.windows(2).map(|pair| (pair[0], pair[1]))).collect();
        pairs.sort_unstable();
        pairs.dedup();
        for (left, right) in pairs {
            after[left].push(right);
            before[right].push(left);
        }
        Self { items, order: columns, before, after, ways }
    }

    /// Puts the items of each column in an order in which few lines cross.
    fn untangle(&mut self) {
        let mut best = (self.crossings(), self.order.clone());
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            let count = self.order.len();
            for at in 0..count {
                let column = if forward { at } else { count - 1 - at };
                self.untangle_column(column, forward);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.order.clone());
            }
        }
        self.order = best.1;
    }

    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.items.len()];
        for column in &self.order {
            for (position, &item) in column.iter().enumerate() {
                positions[item] = position;
            }
        }
        positions
    }

    fn untangle_column(&mut self, column: usize, forward: bool) {
        let positions = self.positions();
        let neighbours = if forward { &self.before } else { &self.after };
        let mut keyed: Vec<(f64, usize)> = self.order[column]
            .iter()
            .map(|&item| {
                let own = positions[item];
                let mean = mean(neighbours[item].iter().map(|&one| exact(positions[one])));
                (mean.unwrap_or_else(|| exact(own)), item)
            })
            .collect();
        keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
        self.order[column] = keyed.into_iter().map(|(_, item)| item).collect();
    }

    /// Returns how many pairs of lines cross between columns.
    fn crossings(&self) -> usize {
        let positions = self.positions();
        let mut crossings = 0_usize;
        for column in &self.order {
            let mut ends: Vec<usize> = Vec::new();
            for &item in column {
                let mut right: Vec<usize> = self.after[item].iter().map(|&one| positions[one]).collect();
                right.sort_unstable();
                ends.extend(right);
            }
            crossings = crossings.saturating_add(inversions(&mut ends));
        }
        crossings
    }

    /// Gives all items heights near those of their neighbours.
    fn level(&mut self) {
        for column in &self.order {
            let mut y = 0.0;
            for (at, &item) in column.iter().enumerate() {
                y += if at == 0 { 0.0 } else { self.distance(column[at - 1], item) };
                self.items[item].y = y;
            }
        }
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            let count = self.order.len();
            for at in 0..count {
                self.level_column(if forward { at } else { count - 1 - at }, forward);
            }
        }
        let top = self.items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
        for item in &mut self.items {
            item.y += MARGIN - top;
        }
    }

    /// How far the middles of two items, one below the other, are apart at least.
    fn distance(&self, above: usize, below: usize) -> f64 {
        let (above, below) = (&self.items[above], &self.items[below]);
        let gap = if above.is_bend || below.is_bend { BEND_GAP } else { GAP };
        f64::midpoint(above.height, below.height) + gap
    }

    fn level_column(&mut self, column: usize, forward: bool) {
        let neighbours = if forward { &self.before } else { &self.after };
        let items = &self.order[column];
        let mut offset = 0.0;
        let mut wanted = Vec::with_capacity(items.len());
        let mut offsets = Vec::with_capacity(items.len());
        for (at, &item) in items.iter().enumerate() {
            offset += if at == 0 { 0.0 } else { self.distance(items[at - 1], item) };
            let mean = mean(neighbours[item].iter().map(|&one| self.items[one].y));
            wanted.push(mean.unwrap_or(self.items[item].y) - offset);
            offsets.push(offset);
        }
        for ((&item, y), offset) in items.iter().zip(rising(&wanted)).zip(offsets) {
            self.items[item].y = y + offset;
        }
    }

    fn picture(&self, diagram: &Diagram, ranks: &[usize]) -> Layout {
        let names: Vec<String> = diagram.nodes.iter().map(|node| shown_name(node.kind, &node.name)).collect();
        let mut widths = vec![0.0_f64; self.order.len()];
        for (node, name) in names.iter().enumerate() {
            let note = exact(text::columns(&diagram.nodes[node].note)) * NOTE_LETTER + PADDING;
            let width = (exact(text::columns(name)) * LETTER + PADDING).max(note).max(88.0);
            widths[ranks[node]] = widths[ranks[node]].max(width);
        }
        let mut lefts = Vec::new();
        let mut x = MARGIN;
        for width in &widths {
            lefts.push(x);
            x += width + COLUMN_GAP;
        }
        let mut rank_of = vec![0; self.items.len()];
        for (rank, column) in self.order.iter().enumerate() {
            for &item in column {
                rank_of[item] = rank;
            }
        }
        let point = |item: usize, right: bool| {
            let rank = rank_of[item];
            (lefts[rank] + if right { widths[rank] } else { 0.0 }, self.items[item].y)
        };
        let line = |way: &Vec<usize>| {
            let between = way[1..way.len() - 1].iter().flat_map(|&bend| [point(bend, false), point(bend, true)]);
            std::iter::once(point(way[0], true)).chain(between).chain([point(way[way.len() - 1], false)]).collect()
        };
        let bottom = self.items.iter().map(|item| item.y + item.height / 2.0).fold(0.0, f64::max);
        let boxes = names.into_iter().enumerate().map(|(node, name)| Place {
            x: lefts[ranks[node]],
            y: self.items[node].y - NODE_HEIGHT / 2.0,
            width: widths[ranks[node]],
            height: NODE_HEIGHT,
            name,
        });
        Layout {
            width: (x - COLUMN_GAP + MARGIN).max(2.0 * MARGIN),
            height: bottom + MARGIN,
            boxes: boxes.collect(),
            lines: self.ways.iter().map(line).collect(),
        }
    }
}

/// Returns a name as it is drawn.
fn shown_name(kind: NodeKind, name: &str) -> String {
    match kind {
        // Of an image, the end says most.
        NodeKind::Source => {
            let short = name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/"));
            text::cut(short.unwrap_or(name), NAME_COLUMNS)
        }
        NodeKind::Stage => text::cut(name, NAME_COLUMNS),
        NodeKind::Step => text::cut(name, STEP_COLUMNS),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// A small number as a fraction.
fn exact(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

/// Returns the values nearest to these of which none is less than the one before it.
fn rising(values: &[f64]) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for &value in values {
        let mut block = (value, 1);
        while let Some(&(before, count)) = blocks.last().filter(|(before, _)| *before > block.0) {
            let all = exact(count + block.1);
            block = ((before * exact(count) + block.0 * exact(block.1)) / all, count + block.1);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect()
}

/// Counts the pairs that are in the wrong order, and sorts.
fn inversions(values: &mut [usize]) -> usize {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = inversions(left).saturating_add(inversions(right));
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut at, mut other) = (0, 0);
    while at < left.len() || other < right.len() {
        if other == right.len() || at < left.len() && left[at] <= right[other] {
            merged.push(left[at]);
            at += 1;
        } else {
            merged.push(right[other]);
            other += 1;
            count = count.saturating_add(left.len() - at);
        }
    }
    values.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_inversions() {
        assert_eq!(inversions(&mut [0, 1, 2]), 0);
        assert_eq!(inversions(&mut [2, 1, 0]), 3);
        assert_eq!(inversions(&mut [1, 1, 0]), 2);
    }

    #[test]
    fn heights_rise_and_stay_near_to_what_is_wanted() {
        assert_eq!(rising(&[1.0, 3.0, 2.0]), [1.0, 2.5, 2.5]);
        assert_eq!(rising(&[3.0, 2.0, 1.0]), [2.0, 2.0, 2.0]);
        assert_eq!(rising(&[]), [0.0; 0]);
    }
}
