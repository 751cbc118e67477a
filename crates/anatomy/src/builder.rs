//! Taking entries, layer by layer.

use std::collections::BTreeMap;

use crate::entry::{Entry, What};
use crate::limits::ENTRIES_MAX;
use crate::tree::{Anatomy, Kind, Layer, Loss, Lost, Node, Share};

/// An anatomy that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnatomyError {
    /// The layers have more entries than allowed.
    #[error("the layers have more than {ENTRIES_MAX} entries")]
    TooManyEntries,
}

/// Makes an [`Anatomy`] of layers that are given one after the other, the lowest first.
pub struct Builder {
    layers: Vec<Layer>,
    /// All paths, the root first.
    paths: Vec<PathState>,
    /// What is directly below each path, by the path's place and the name.
    children: BTreeMap<(u32, Box<[u8]>), u32>,
    /// Files that have several names in their layer.
    linked: Vec<Linked>,
    entries: usize,
    /// The directory of the entry before, for the next one is likely in it.
    last: (Vec<u8>, u32),
}

/// A path while layers are taken.
#[derive(Default)]
struct PathState {
    name: Box<[u8]>,
    parent: u32,
    kind: Kind,
    /// What is there, as far as layers were taken.
    live: Option<Live>,
    /// Nothing at it or below it can be seen.
    is_dead: bool,
    shares: Vec<Share>,
    losses: Vec<Loss>,
}

/// An entry that can be seen.
#[derive(Clone, Copy)]
struct Live {
    layer: u32,
    /// Its bytes; of a name of several, without the content.
    bytes: u64,
    /// Bytes of its content, if it is the only name of a file.
    content: u64,
    is_file: bool,
    /// The file of which it is one name of several.
    linked: Option<u32>,
}

/// A file with several names in its layer.
struct Linked {
    content: u64,
    /// Its names, in the order of the tar.
    names: Vec<u32>,
    /// The first of the names that can still be seen, where the content is counted.
    holder: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            paths: vec![PathState::default()],
            children: BTreeMap::new(),
            linked: Vec::new(),
            entries: 0,
            last: (Vec::new(), 0),
        }
    }
}

impl Builder {
    /// Begins without layers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the next layer: the entries that follow are its own.
    pub fn layer(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// Takes an entry of the layer that was begun last. A directory comes before what is in it, and the first name of a
    /// file before its others.
    ///
    /// Errors: there are too many.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Result<(), AnatomyError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(AnatomyError::TooManyEntries);
        }
        if self.layers.is_empty() {
            self.layer(Layer::default());
        }
        let layer = number(self.layers.len() - 1);
        let place = self.find_or_add(entry.path);
        let live = Live { layer, bytes: entry.bytes, content: 0, is_file: true, linked: None };
        match entry.what {
            What::Directory { hides } => {
                if hides.is_some() || self.paths[place as usize].kind != Kind::Directory {
                    self.lose_below(place, layer, Lost::Deleted);
                }
                let mark = hides.unwrap_or_default().min(entry.bytes);
                self.put(place, Kind::Directory, Live { is_file: false, bytes: entry.bytes - mark, ..live });
                self.deletion(place, layer, mark);
            }
            What::File { content } => self.put(place, Kind::File, Live { content: content.min(entry.bytes), ..live }),
            What::HardLink { of } => {
                let first = self.find_or_add(of);
                self.put(place, Kind::File, live);
                self.link(place, first, layer);
            }
            What::Link => self.put(place, Kind::Link, live),
            What::Other => self.put(place, Kind::Other, live),
            What::Whiteout => self.delete(place, layer, entry.bytes),
        }
        Ok(())
    }

    /// Has `live` be what is at `place`.
    fn put(&mut self, place: u32, kind: Kind, live: Live) {
        if kind != Kind::Directory {
            self.lose_below(place, live.layer, Lost::Replaced);
        }
        self.lose(place, live.layer, Lost::Replaced);
        let path = &mut self.paths[place as usize];
        // What this layer deleted with all that was in a directory, and has again, was replaced.
        for loss in path.losses.iter_mut().filter(|loss| loss.by == live.layer && loss.how == Lost::Deleted) {
            loss.how = Lost::Replaced;
        }
        path.kind = kind;
        let share = share(&mut path.shares, live.layer);
        share.bytes += live.bytes;
        share.visible += live.bytes;
        share.files += u32::from(live.is_file);
        path.live = Some(live);
        let mut up = place;
        while std::mem::take(&mut self.paths[up as usize].is_dead) {
            up = self.paths[up as usize].parent;
        }
    }

    /// Has `place`, just put, be one more name of what is at `first`. What is no file of this layer has no other names.
    fn link(&mut self, place: u32, first: u32, layer: u32) {
        let known = self.linked.len();
        if first == place || self.paths[first as usize].kind != Kind::File {
            return;
        }
        let Some(live) = self.paths[first as usize].live.as_mut().filter(|live| live.layer == layer) else { return };
        let linked = *live.linked.get_or_insert(number(known));
        if linked as usize == known {
            let content = std::mem::take(&mut live.content);
            live.bytes -= content;
            self.linked.push(Linked { content, names: vec![first], holder: 0 });
        }
        self.linked[linked as usize].names.push(place);
        if let Some(live) = &mut self.paths[place as usize].live {
            live.linked = Some(linked);
        }
    }

    /// Has `layer` delete what is at `place`, by an entry with so many bytes.
    fn delete(&mut self, place: u32, layer: u32, bytes: u64) {
        self.lose_below(place, layer, Lost::Deleted);
        self.lose(place, layer, Lost::Deleted);
        let path = &mut self.paths[place as usize];
        if path.shares.is_empty() {
            path.kind = Kind::Other;
        }
        self.deletion(place, layer, bytes);
    }

    /// Counts the bytes of a deletion, which is lost to itself.
    fn deletion(&mut self, place: u32, layer: u32, bytes: u64) {
        if bytes > 0 {
            let path = &mut self.paths[place as usize];
            share(&mut path.shares, layer).bytes += bytes;
            add(&mut path.losses, Loss { layer, by: layer, how: Lost::Deletion, files: 0, bytes });
        }
    }

    /// Has nothing below `place` be seen any more.
    fn lose_below(&mut self, place: u32, by: u32, how: Lost) {
        let mut open: Vec<u32> = self.children_of(place).collect();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut self.paths[place as usize].is_dead, true) {
                continue;
            }
            self.lose(place, by, how);
            open.extend(self.children_of(place));
        }
    }

    /// Has what is at `place` itself be seen no more.
    fn lose(&mut self, place: u32, by: u32, how: Lost) {
        let Some(live) = self.paths[place as usize].live.take() else { return };
        let bytes = live.bytes + live.linked.map_or(0, |linked| self.unlink(place, live.layer, linked));
        let path = &mut self.paths[place as usize];
        share(&mut path.shares, live.layer).visible -= bytes;
        add(&mut path.losses, Loss { layer: live.layer, by, how, files: u32::from(live.is_file), bytes });
    }

    /// Takes the name at `place` from a file with several. If the content was counted there, it is counted at the next
    /// name; without one, its bytes are returned, for they are lost.
    fn unlink(&mut self, place: u32, layer: u32, linked: u32) -> u64 {
        let file = &mut self.linked[linked as usize];
        if file.names.get(file.holder) != Some(&place) {
            return 0;
        }
        let is_there = |name: &u32| self.paths[*name as usize].live.is_some_and(|live| live.linked == Some(linked));
        while file.names.get(file.holder).is_some_and(|name| !is_there(name)) {
            file.holder += 1;
        }
        let content = file.content;
        let Some(&next) = file.names.get(file.holder) else { return content };
        let from = share(&mut self.paths[place as usize].shares, layer);
        (from.bytes, from.visible) = (from.bytes - content, from.visible - content);
        let to = share(&mut self.paths[next as usize].shares, layer);
        (to.bytes, to.visible) = (to.bytes + content, to.visible + content);
        0
    }

    fn children_of(&self, place: u32) -> impl Iterator<Item = u32> {
        let range = (place, Box::default())..(place + 1, Box::default());
        self.children.range(range).map(|(_, child)| *child)
    }

    /// Returns the place of a path, which has one from now on.
    fn find_or_add(&mut self, path: &[u8]) -> u32 {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if self.last.0 != parent {
            let mut place = 0;
            for name in parent.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
                place = self.child(place, name);
            }
            self.last = (parent.to_vec(), place);
        }
        if name.is_empty() { self.last.1 } else { self.child(self.last.1, name) }
    }

    fn child(&mut self, parent: u32, name: &[u8]) -> u32 {
        let new = number(self.paths.len());
        let place = *self.children.entry((parent, name.into())).or_insert(new);
        if place == new {
            // A path that nothing was put at yet is as if all below it were gone.
            self.paths.push(PathState { name: name.into(), parent, is_dead: true, ..PathState::default() });
        }
        place
    }

    /// Returns what the layers make together.
    #[must_use]
    pub fn finish(mut self) -> Anatomy {
        let order = self.order();
        let mut below = vec![0_u32; self.paths.len()];
        for &place in order.iter().skip(1).rev() {
            let path = &mut self.paths[place as usize];
            let parent = path.parent as usize;
            let (shares, losses) = (std::mem::take(&mut path.shares), std::mem::take(&mut path.losses));
            let above = &mut self.paths[parent];
            for one in &shares {
                let sum = share(&mut above.shares, one.layer);
                sum.files += one.files;
                (sum.bytes, sum.visible) = (sum.bytes + one.bytes, sum.visible + one.visible);
            }
            for loss in &losses {
                add(&mut above.losses, *loss);
            }
            (self.paths[place as usize].shares, self.paths[place as usize].losses) = (shares, losses);
            below[parent] += 1 + below[place as usize];
        }
        let node = |place: u32| {
            let path = std::mem::take(&mut self.paths[place as usize]);
            Node {
                name: String::from_utf8_lossy(&path.name).into(),
                kind: path.kind,
                below: below[place as usize],
                shares: path.shares.into(),
                losses: path.losses.into(),
            }
        };
        let nodes = order.into_iter().map(node).collect();
        Anatomy { layers: self.layers, nodes }
    }

    /// Returns the places of all paths, each before those below it.
    fn order(&self) -> Vec<u32> {
        let (mut order, mut open) = (Vec::with_capacity(self.paths.len()), vec![0]);
        while let Some(place) = open.pop() {
            order.push(place);
            let first = open.len();
            open.extend(self.children_of(place));
            open[first..].reverse();
        }
        order
    }
}

/// Returns the share of a layer, which is there from now on.
fn share(shares: &mut Vec<Share>, layer: u32) -> &mut Share {
    let at = shares.binary_search_by_key(&layer, |share| share.layer).unwrap_or_else(|at| {
        shares.insert(at, Share { layer, files: 0, bytes: 0, visible: 0 });
        at
    });
    &mut shares[at]
}

fn add(losses: &mut Vec<Loss>, loss: Loss) {
    let key = |loss: &Loss| (loss.layer, loss.by, loss.how);
    match losses.binary_search_by_key(&key(&loss), key) {
        Ok(at) => {
            losses[at].files += loss.files;
            losses[at].bytes += loss.bytes;
        }
        Err(at) => losses.insert(at, loss),
    }
}

/// No anatomy has more paths, layers or files than fit.
fn number(value: usize) -> u32 {
    u32::try_from(value).expect("entries are limited to far less")
}
