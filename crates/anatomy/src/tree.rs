//! The tree of sizes.

use serde::{Deserialize, Serialize};

use crate::made::Made;

/// What an image is made of: its layers, and its files with the bytes of each layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anatomy {
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// All paths that any layer has, the root first, each before what is below it, names in order. [`Anatomy::root`] is
    /// the way into it.
    pub nodes: Vec<Node>,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of its uncompressed tar.
    pub diff_id: String,
    /// Uncompressed bytes of its tar. That is a little more than its entries have, for a tar has an end; where a tar was
    /// made by another builder and packs the same files otherwise, it can be another number altogether.
    pub bytes: u64,
    /// The instruction that made it, as far as the image says so.
    pub created_by: Option<String>,
    /// What is known of who made it, if a build is: see [`Anatomy::made_by`].
    pub made: Option<Made>,
}

/// One path of the image, as all layers have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The last part of its path; of the root, nothing. What is no text in it is replaced.
    pub name: Box<str>,
    /// What it is in the highest layer that has it, though another one may have deleted it.
    pub kind: Kind,
    /// How many of the nodes that follow are below it.
    pub below: u32,
    /// What each layer ships at and below it; layers that ship nothing are left out. The lowest first.
    pub shares: Box<[Share]>,
    /// What of that is shipped for nothing, by the layer that it is of, and by what became of it.
    pub losses: Box<[Loss]>,
}

/// What a path is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory.
    #[default]
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, a pipe, or a deletion of what no layer has.
    Other,
}

/// What one layer ships at a path and below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Place of the layer in [`Anatomy::layers`].
    pub layer: u32,
    /// Its entries there, without directories and deletions.
    pub files: u32,
    /// Bytes that it ships.
    pub bytes: u64,
    /// How many of them can be seen in the image.
    pub visible: u64,
}

/// Bytes of a layer that are shipped for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Place of the layer that ships them.
    pub layer: u32,
    /// Place of the layer to which they are lost; the same one for deletions themselves.
    pub by: u32,
    /// How they were lost.
    pub how: Lost,
    /// How many files, without directories and deletions.
    pub files: u32,
    /// How many bytes.
    pub bytes: u64,
}

/// How bytes came to be shipped for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// A later layer has something else at the same path: other content, another owner or mode, or the same once more.
    Replaced,
    /// A later layer deletes it.
    Deleted,
    /// They are a deletion, which is itself an entry.
    Deletion,
}

/// Sums over layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes that are shipped.
    pub bytes: u64,
    /// Bytes that can be seen.
    pub visible: u64,
    /// Files that are shipped, without directories and deletions.
    pub files: u64,
}

impl Totals {
    /// Returns the bytes that are shipped for nothing.
    #[must_use]
    pub fn wasted(&self) -> u64 {
        self.bytes - self.visible
    }
}

/// A node in its tree.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    anatomy: &'a Anatomy,
    index: usize,
}

impl Anatomy {
    /// Returns the root.
    #[must_use]
    pub fn root(&self) -> Option<Place<'_>> {
        self.place(0)
    }

    /// Returns the node at this place of [`Anatomy::nodes`].
    #[must_use]
    pub fn place(&self, index: usize) -> Option<Place<'_>> {
        (index < self.nodes.len()).then_some(Place { anatomy: self, index })
    }

    /// Returns the node with this path, whose parts are parted by slashes.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Place<'_>> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.try_fold(self.root()?, |place, part| place.children().find(|child| *child.node().name == *part))
    }

    /// Returns the sums over all layers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.root().map(Place::totals).unwrap_or_default()
    }
}

impl<'a> Place<'a> {
    /// Returns what is known of it.
    #[must_use]
    pub fn node(self) -> &'a Node {
        &self.anatomy.nodes[self.index]
    }

    /// Returns its place in [`Anatomy::nodes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// Returns what is directly below it, in the order of names.
    pub fn children(self) -> impl Iterator<Item = Place<'a>> {
        let Self { anatomy, index } = self;
        let end = (index + 1 + self.node().below as usize).min(anatomy.nodes.len());
        let next = move |place: usize| place + 1 + anatomy.nodes[place].below as usize;
        let places = std::iter::successors(Some(index + 1), move |place| (*place < end).then(|| next(*place)));
        places.take_while(move |place| *place < end).map(move |index| Self { anatomy, index })
    }

    /// Returns what `layer` ships at it and below it.
    #[must_use]
    pub fn share(self, layer: u32) -> Option<&'a Share> {
        let shares = &self.node().shares;
        shares.binary_search_by_key(&layer, |share| share.layer).ok().map(|found| &shares[found])
    }

    /// Returns the sums over all layers.
    #[must_use]
    pub fn totals(self) -> Totals {
        let mut totals = Totals::default();
        for share in &self.node().shares {
            totals.bytes += share.bytes;
            totals.visible += share.visible;
            totals.files += u64::from(share.files);
        }
        totals
    }
}
