//! Follows every link of the pages that mdBook made, as far as it stays within them.

use super::follow;
use crate::failure::{At, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What following all links came to.
pub(super) struct Checked {
    pub(super) pages: usize,
    pub(super) links: usize,
    /// A line for each link that leads nowhere.
    pub(super) findings: Vec<String>,
}

/// Checks the pages below `root`.
pub(super) fn check(root: &Path) -> Result<Checked> {
    let pages = pages(root)?;
    let anchors: BTreeMap<&Path, BTreeSet<&str>> =
        pages.iter().map(|(path, text)| (path.as_path(), attributes(text, "id").collect())).collect();
    let mut checked = Checked { pages: pages.len(), links: 0, findings: Vec::new() };
    for (path, text) in &pages {
        for link in attributes(text, "href").chain(attributes(text, "src")).filter(|link| is_internal(link)) {
            checked.links += 1;
            if let Some(why) = broken(root, path, &link.replace("&amp;", "&"), &anchors) {
                checked.findings.push(format!("{}: `{link}` {why}", path.display()));
            }
        }
    }
    checked.findings.sort();
    checked.findings.dedup();
    Ok(checked)
}

/// Says what is wrong with a link of the page `from`.
fn broken(root: &Path, from: &Path, link: &str, anchors: &BTreeMap<&Path, BTreeSet<&str>>) -> Option<String> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = target.split('?').next().unwrap_or_default();
    let path = if target.is_empty() { from.to_owned() } else { follow(from.parent().unwrap_or(from), target) };
    let path = if root.join(&path).is_dir() { path.join("index.html") } else { path };
    if !root.join(&path).is_file() {
        return Some("names no file".to_owned());
    }
    let known = anchors.get(path.as_path());
    let is_there = anchor.is_empty() || known.is_none_or(|known| known.contains(anchor));
    (!is_there).then(|| format!("names no part of `{}`", path.display()))
}

fn is_internal(link: &str) -> bool {
    let scheme = link.split(['/', '#', '?']).next().unwrap_or_default();
    !link.is_empty() && !link.starts_with("//") && !scheme.contains(':')
}

/// The values of all attributes of this name.
fn attributes<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let parts: Vec<&str> = text.split(start.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|rest| rest.split('"').next())
}

/// All pages but the two that repeat others or are shown at an address that nobody knows.
fn pages(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let path = entry.at("list", &dir)?.path();
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html")
                && !["404.html", "print.html"].iter().any(|other| relative == Path::new(other))
            {
                found.push((relative, fs::read_to_string(&path).at("read", &path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_files_and_to_parts_of_pages() {
        let place = tempfile::tempdir().expect("a directory");
        let root = place.path();
        fs::create_dir(root.join("sub")).expect("writable");
        let page = "<h2 id=\"one\"></h2><a href=\"sub/b.html#two\"></a><a href=\"#one\"></a><a href=\"https://x/y\"></a>\
                    <a href=\"sub/b.html#three\"></a><img src=\"none.png\"><a href=\"../../etc/passwd\"></a>";
        fs::write(root.join("index.html"), page).expect("writable");
        fs::write(root.join("sub/b.html"), "<h2 id=\"two\"><a href=\"../index.html\"></a>").expect("writable");
        let checked = check(root).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((checked.pages, checked.links), (2, 6));
        let expected = [
            "index.html: `../../etc/passwd` names no file",
            "index.html: `none.png` names no file",
            "index.html: `sub/b.html#three` names no part of `sub/b.html`",
        ];
        assert_eq!(checked.findings, expected);
    }
}
