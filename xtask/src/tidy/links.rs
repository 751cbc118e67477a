//! Links between the documents of the repository: each leads to a file that is there and to a heading that it has.

use super::Source;
use crate::book::{follow, summary};
use crate::place::Place;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What stands before a path of the repository in the address of a file of it.
const REPOSITORY: &str = "https://github.com/stave-build/stave/blob/main/";

/// Findings in all documents, and in the book's table of contents.
pub(super) fn check(place: &Place, sources: &[Source]) -> Vec<String> {
    let documents: Vec<&Source> = sources.iter().filter(|source| is_document(&source.path)).collect();
    let headings: BTreeMap<&Path, BTreeSet<String>> =
        documents.iter().map(|source| (source.path.as_path(), anchors(&source.text))).collect();
    let mut findings = contents(sources);
    for source in &documents {
        for link in links(&source.text) {
            if let Some(why) = broken(place, &source.path, &link, &headings) {
                findings.push(format!("{}: the link `{link}` {why}", source.path.display()));
            }
        }
        findings.extend(indented(source));
    }
    findings
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Whether the table of contents names every page.
fn contents(sources: &[Source]) -> Vec<String> {
    let pages = pages(sources);
    let Some(table) = pages.get(Path::new(summary::SUMMARY)) else {
        return vec![format!("{} is missing", summary::SUMMARY)];
    };
    let name = |path: &Path| format!("{} is not in {}", path.display(), summary::SUMMARY);
    let mut findings: Vec<String> = summary::forgotten(table, &pages).into_iter().map(name).collect();
    if summary::renewed(table, &pages) != *table {
        findings.push(format!("{} is not up to date: run `cargo xtask generate`", summary::SUMMARY));
    }
    findings
}

/// The pages of the book by their paths.
pub(super) fn pages(sources: &[Source]) -> BTreeMap<&Path, &str> {
    let inside = sources.iter().filter(|source| source.is_below("docs") && is_document(&source.path));
    inside.map(|source| (source.path.as_path(), source.text.as_str())).collect()
}

/// Says what is wrong with a link of the document `from`.
fn broken(place: &Place, from: &Path, link: &str, headings: &BTreeMap<&Path, BTreeSet<String>>) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path.strip_prefix(REPOSITORY) {
        Some(path) => PathBuf::from(path),
        None if path.contains(':') => return None,
        None if path.is_empty() => from.to_owned(),
        None => follow(from.parent().unwrap_or(from), path),
    };
    if from.starts_with("docs") && !link.starts_with(REPOSITORY) && !target.starts_with("docs") {
        return Some(format!("leads out of the book: write `{REPOSITORY}{}`", target.display()));
    }
    if !place.root.join(&target).exists() {
        return Some("names no file".to_owned());
    }
    let is_there = anchor.is_empty() || headings.get(target.as_path()).is_none_or(|known| known.contains(anchor));
    (!is_there).then(|| format!("names no heading of {}", target.display()))
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// The targets of all links and pictures.
fn links(text: &str) -> Vec<String> {
    let target = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    };
    parser(text).filter_map(target).collect()
}

/// The names by which the headings of a document are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => found.extend(heading.take().map(|heading| anchor(&heading))),
            _ => {}
        }
    }
    found
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.flat_map(char::to_lowercase).map(|character| if character == ' ' { '-' } else { character }).collect()
}

/// Examples by indentation alone: nothing says what they are, so nothing runs them.
fn indented(source: &Source) -> Option<String> {
    use pulldown_cmark::CodeBlockKind::Indented;
    let is_page = source.is_below("docs");
    let found = parser(&source.text).any(|event| matches!(event, Event::Start(Tag::CodeBlock(Indented))));
    (is_page && found).then(|| format!("{}: an example without a fence", source.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_headings_are_those_of_markdown() {
        let text = "# One `two`, three\n\n[a](b.md#c) `[no](x.md)`\n\n```text\n[no](y.md)\n```\n\n![p](images/p.png)\n";
        assert_eq!(links(text), ["b.md#c", "images/p.png"]);
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["one-two-three"]);
    }
}
