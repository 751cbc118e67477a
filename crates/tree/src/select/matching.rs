//! From a pattern to the sources that it names, with what is left out of each.

use std::collections::BTreeSet;

use stave_pattern::{Component, IgnoreFile, Wildcard};

use super::{Keep, Naming, SelectError, Selection, Source};
use crate::digest::Owners;
use crate::dir::{Follow, Kind, PathError, clean, join};
use crate::scan::{Filter, Node, ScanError, Scanner};

/// Leaves out what rules say about paths below `base`, and what `inner` leaves out.
struct Chosen<'a, F> {
    inner: &'a F,
    base: &'a [u8],
    rules: Vec<&'a IgnoreFile>,
}

impl<F> Chosen<'_, F> {
    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.base.is_empty() {
            return Some(path).filter(|path| !path.is_empty());
        }
        path.strip_prefix(self.base)?.strip_prefix(b"/")
    }
}

impl<F: Filter> Filter for Chosen<'_, F> {
    fn ignored(&self, path: &[u8]) -> bool {
        self.inner.ignored(path)
            || self.below(path).is_some_and(|path| self.rules.iter().any(|rules| rules.ignored(path)))
    }

    fn wanted_below(&self, path: &[u8]) -> bool {
        let chosen = |rules: &IgnoreFile, path: &[u8]| !rules.ignored(path) || rules.may_reinclude_below(path);
        (!self.inner.ignored(path) || self.inner.wanted_below(path))
            && self.below(path).is_none_or(|path| self.rules.iter().all(|rules| chosen(rules, path)))
    }

    fn excluding_line(&self, path: &[u8]) -> Option<usize> {
        self.inner.excluding_line(path)
    }
}

pub(super) fn named(source: &str, keep: &Keep) -> Result<Wildcard, SelectError> {
    match keep.naming {
        Naming::Pattern => parsed(source),
        Naming::Path | Naming::Link => {
            let cleaned = String::from_utf8(clean(source.as_bytes())).expect("cleaning keeps whole components");
            Ok(Wildcard::of_path(&cleaned))
        }
    }
}

fn parsed(pattern: &str) -> Result<Wildcard, SelectError> {
    let cleaned = String::from_utf8(clean(pattern.as_bytes())).expect("cleaning keeps whole components");
    Wildcard::parse(&cleaned).map_err(|source| SelectError::Pattern { pattern: pattern.to_owned(), source })
}

pub(super) fn select_by<F: Filter>(
    scanner: &Scanner<'_, F>,
    patterns: &[&str],
    keep: &Keep,
    owners: Owners,
) -> Result<Selection, SelectError> {
    let mut selection = Selection::new(scanner.root.try_clone()?, owners);
    for pattern in patterns {
        if keep.parents {
            for source in with_parents(scanner, pattern, keep)? {
                selection.push(source);
            }
            continue;
        }
        let wildcard = named(pattern, keep)?;
        let literals: Option<Vec<&[u8]>> = wildcard.components().iter().map(Component::literal).collect();
        if let Some(literals) = literals {
            let source = dereferenced(scanner, &literals.join(&b'/'), pattern, keep)?;
            selection.push(source);
            continue;
        }
        for named in matches(scanner, wildcard.components())? {
            match dereferenced(scanner, &named, pattern, keep) {
                Ok(source) => selection.push(source),
                // A match that the ignore file leaves out. A match that is a link to such a file is an error.
                Err(SelectError::Ignored { .. }) if scanner.filter.ignored(&named) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(selection)
}

/// Returns the directories that a pattern starts from, each with what the pattern names below it: what comes before `/./`
/// is not kept.
///
/// Reference: BuildKit, `frontend/dockerfile/dockerfile2llb/convert_copy.go`, `parents`.
fn with_parents<F: Filter>(scanner: &Scanner<'_, F>, pattern: &str, keep: &Keep) -> Result<Vec<Source>, SelectError> {
    let (pivot, rest) = pattern.split_once("/./").unwrap_or(("", pattern));
    let (pivot, named) = (parsed(pivot)?, parsed(rest)?);
    let rest = clean(rest.as_bytes());
    let rules = match &rest[..] {
        b"" => IgnoreFile::default(),
        rest => IgnoreFile::from_patterns([b"**".as_slice(), &[b"!", rest].concat()])
            .map_err(|error| SelectError::Pattern { pattern: pattern.to_owned(), source: error.problem })?,
    };
    let literals: Option<Vec<&[u8]>> = pivot.components().iter().map(Component::literal).collect();
    let starts = match literals {
        Some(literals) => BTreeSet::from([literals.join(&b'/')]),
        None => matches(scanner, pivot.components())?,
    };
    let required = pivot.is_literal() && named.is_literal();
    let mut sources = Vec::new();
    for start in starts {
        let path = match scanner.root.resolve(&start) {
            Ok(path) => clean(&path),
            Err(error) if error.is_not_found() && !required => continue,
            Err(error) if error.is_not_found() => {
                return Err(SelectError::NotFound { pattern: pattern.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        let chosen = Chosen { inner: scanner.filter, base: &path, rules: vec![&rules, &keep.excludes] };
        let node = match scanner.with_filter(&chosen).scan(&path, b"") {
            Ok(node) => node.filter(|node| !node.is_leaf()),
            Err(ScanError::Path(error)) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let whole = join(&path, &rest);
        if required && !node.as_ref().is_some_and(|node| node.has(&rest)) {
            if let Some(line) = scanner.filter.excluding_line(&whole) {
                return Err(SelectError::Ignored { pattern: pattern.to_owned(), line });
            }
            if !found(scanner, &whole)? {
                return Err(SelectError::NotFound { pattern: pattern.to_owned() });
            }
        }
        sources.extend(node.map(|node| Source { path, node }));
    }
    Ok(sources)
}

/// Whether `path`, in which no component is a link, exists.
fn found<F>(scanner: &Scanner<'_, F>, path: &[u8]) -> Result<bool, SelectError> {
    let (parent, name) = crate::copy::split(path);
    match scanner.root.open_dir_no_links(parent) {
        Ok(parent) => Ok(parent.child(name)?.is_some()),
        Err(error) if error.is_no_directory() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns the node at `path`, less what is excluded below it.
pub(super) fn scan_kept<F: Filter>(
    scanner: &Scanner<'_, F>,
    path: &[u8],
    name: &[u8],
    keep: &Keep,
) -> Result<Option<Node>, ScanError> {
    if keep.is_everything() {
        return scanner.scan(path, name);
    }
    let chosen = Chosen { inner: scanner.filter, base: path, rules: vec![&keep.excludes] };
    scanner.with_filter(&chosen).scan(path, name)
}

/// Returns the source at `named`, links followed; one at its end only where `keep` does not take links.
fn dereferenced<F: Filter>(
    scanner: &Scanner<'_, F>,
    named: &[u8],
    pattern: &str,
    keep: &Keep,
) -> Result<Source, SelectError> {
    let missing = |error: PathError| {
        if error.is_not_found() { SelectError::NotFound { pattern: pattern.to_owned() } } else { error.into() }
    };
    let (parent, last) = crate::copy::split(named);
    let path = if keep.naming == Naming::Link && !last.is_empty() {
        join(&clean(&scanner.root.resolve(parent).map_err(missing)?), last)
    } else {
        clean(&scanner.root.resolve(named).map_err(missing)?)
    };
    scanner.root.metadata(&path, Follow::No).map_err(missing)?;
    let name = named.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let hidden = |path: &[u8], kind: Kind| {
        !path.is_empty()
            && scanner.filter.ignored(path)
            && !(kind == Kind::Directory && scanner.filter.wanted_below(path))
    };
    let named_kind = scanner.root.metadata(named, Follow::No).map_err(missing)?.kind;
    if !hidden(named, named_kind)
        && let Some(node) = scan_kept(scanner, &path, name, keep)?
    {
        return Ok(Source { path, node });
    }
    let line = [named, &path].into_iter().find_map(|path| scanner.filter.excluding_line(path));
    Err(match line {
        Some(line) => SelectError::Ignored { pattern: pattern.to_owned(), line },
        None => SelectError::NotFound { pattern: pattern.to_owned() },
    })
}

/// Returns the paths that match, in order. Names before the first wildcard are followed through links; below, only real
/// directories are entered.
fn matches<F: Filter>(scanner: &Scanner<'_, F>, components: &[Component]) -> Result<BTreeSet<Vec<u8>>, SelectError> {
    let literal = components.iter().take_while(|component| component.literal().is_some()).count();
    let prefix: Vec<&[u8]> = components[..literal].iter().filter_map(Component::literal).collect();
    let start = clean(&scanner.root.resolve(&prefix.join(&b'/'))?);
    let mut directories = BTreeSet::from([start]);
    let mut found = BTreeSet::new();
    for (index, component) in components.iter().enumerate().skip(literal) {
        let last = index + 1 == components.len();
        let mut next = BTreeSet::new();
        for directory in &directories {
            let opened = match scanner.root.open_dir_no_links(directory) {
                Err(error) if error.is_not_found() => continue,
                result => result?,
            };
            for entry in opened.list(b"")?.into_iter().filter(|entry| component.matches(&entry.name)) {
                let path = join(directory, &entry.name);
                if last {
                    found.insert(path);
                } else if entry.metadata.kind == Kind::Directory {
                    next.insert(path);
                }
            }
        }
        directories = next;
    }
    Ok(found)
}
