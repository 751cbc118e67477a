//! Which files a pattern means.
//!
//! Turns the patterns of `COPY` and `ADD` into [`Selection`]s: from a build context, with its ignore file and its memory
//! of digests, or from the tree of another stage. Nothing outside the given directory is ever read: `..` and absolute
//! paths start at its root, links that are named are followed inside it, links found on the way are taken as links.

mod context;
mod matching;
mod selection;

use stave_pattern::{Component, IgnoreFile, Malformed};

use crate::digest::Owners;
use crate::dir::{Dir, PathError};
use crate::layers::{Layers, Located};
use crate::merged::OverlayError;
use crate::scan::{Everything, ScanError, Scanner};

use self::matching::{named, scan_kept, select_by};

pub use self::context::Context;
pub(crate) use self::selection::Source;
pub use self::selection::{Item, Selection, Size};

/// A selection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The pattern has no wildcards and names nothing.
    #[error("`{pattern}` not found")]
    NotFound {
        /// The pattern as it was given.
        pattern: String,
    },
    /// What the pattern names exists, but the ignore file leaves it out.
    #[error("`{pattern}` is excluded by line {line} of the ignore file")]
    Ignored {
        /// The pattern as it was given.
        pattern: String,
        /// Line of the deciding rule, from 1.
        line: usize,
    },
    /// The pattern's wildcards make no sense.
    #[error("`{pattern}` is no valid pattern")]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A file could not be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A path could not be followed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The layers of the other stage or image could not be joined.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// What the text is that names a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// A pattern: its wildcards match any number of sources.
    #[default]
    Pattern,
    /// A path: no character in it is a wildcard.
    Path,
    /// A path, at whose end a link is taken as a link, and not what it leads to. Those before it are followed.
    Link,
}

/// What of a source is copied.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// How sources are named.
    pub naming: Naming,
    /// What is left out: paths relative to the directory that is the source. What is named itself is never left out.
    pub excludes: IgnoreFile,
    /// The directories above what a pattern names are kept, as far as they come after `/./` in it, and `**` is any number
    /// of directories (`COPY --parents`).
    pub parents: bool,
}

impl Keep {
    fn is_everything(&self) -> bool {
        self.excludes.is_empty() && !self.parents
    }
}

/// Returns what `patterns` select in the tree of another stage or image. Owners are kept; nothing is hashed until
/// [`Selection::digest`] is asked for.
pub fn select(layers: &Layers, patterns: &[&str]) -> Result<Selection, SelectError> {
    select_with(layers, patterns, &Keep::default())
}

/// As [`select`], less what `keep` leaves out.
pub fn select_with(layers: &Layers, patterns: &[&str], keep: &Keep) -> Result<Selection, SelectError> {
    if let ([pattern], false) = (patterns, keep.parents || keep.naming == Naming::Link)
        && let Some(selection) = select_in_one_layer(layers, pattern, keep)?
    {
        return Ok(selection);
    }
    let scanner = whole_tree(layers.mounted()?, false);
    crate::pool::run(|| select_by(&scanner, patterns, keep, Owners::Kept))
}

/// Reads another stage or image: nothing is left out, but what overlayfs would hide.
fn whole_tree(root: &Dir, hash: bool) -> Scanner<'_, Everything> {
    Scanner { root, filter: &Everything, hash, memory: None, opaque_xattr: None, hides_whiteouts: true }
}

/// Returns what a pattern without wildcards selects, if all of it is in a single layer.
fn select_in_one_layer(layers: &Layers, pattern: &str, keep: &Keep) -> Result<Option<Selection>, SelectError> {
    let wildcard = named(pattern, keep)?;
    let Some(literals) = wildcard.components().iter().map(Component::literal).collect::<Option<Vec<&[u8]>>>() else {
        return Ok(None);
    };
    let named = literals.join(&b'/');
    let not_found = || SelectError::NotFound { pattern: pattern.to_owned() };
    let (layer, path, is_leaf) = match layers.locate(&named) {
        Ok(Located::Leaf { layer, path }) => (layer, path, true),
        Ok(Located::Directory { layer: Some(layer), path }) => (layer, path, false),
        Ok(Located::Directory { layer: None, .. }) => return Ok(None),
        Ok(Located::Missing) => return Err(not_found()),
        Err(error) if error.is_not_found() => return Err(not_found()),
        Err(error) => return Err(error.into()),
    };
    let scanner = whole_tree(&layer, false);
    let name = literals.last().copied().unwrap_or_default();
    let scan = || scan_kept(&scanner, &path, name, keep);
    let node = if is_leaf { scan()? } else { crate::pool::run(scan)? };
    let mut selection = Selection::new(layer.try_clone()?, Owners::Kept);
    selection.push(Source { path, node: node.ok_or_else(not_found)? });
    Ok(Some(selection))
}
