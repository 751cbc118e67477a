//! The table of the corpus: for a terminal a few numbers, for `docs/conformance.md` a row for each case.

use super::Row;
use crate::table::table;
use stave_testkit::conformance::{Peer, Verdict, Yard};
use std::collections::{BTreeMap, BTreeSet};

const HEAD: &str = "\
# Conformance

Written by `cargo xtask conformance`; do not edit. Each case is a directory of `conformance/` with a Dockerfile that nobody
would write on purpose. Stave and the peers build it. With BuildKit the configuration, the history and every entry of every
layer are compared; with buildah the configuration and the tree that the layers make (type, mode, owner, content, link target,
extended attributes, and the times of files that come from the context). Stave builds with `--timestamp=now`. `same` means that nothing differs but what
[conformance/README.md](https://github.com/stave-build/stave/blob/main/conformance/README.md) lists for the age of Debian's BuildKit; `by hand`, that what has to come
out stands in the case, written from the reference. A difference has its reason in the last column.

";

/// A few numbers.
pub(super) fn summary(rows: &[Row]) -> String {
    let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let mut parts = vec![format!("{} cases", rows.len())];
    for peer in Peer::ALL {
        let same = count(&|row| row.verdicts.get(&peer).is_some_and(Verdict::is_same));
        let explained = count(&|row| cell(row, peer) == "differs");
        parts.push(format!("{}: {same} the same, {explained} differ with a reason", peer.key()));
    }
    let alone = count(&|row| row.verdicts.is_empty());
    let bugs = count(&|row| row.case.about.known_bug.is_some());
    parts.push(format!("{alone} by hand only, {bugs} known bugs\n"));
    parts.join(", ")
}

/// The whole document.
pub(super) fn page(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    let versions: Vec<String> = Peer::ALL.into_iter().filter_map(Yard::version).collect();
    text.extend(["Peers: ", &versions.join(", "), ".\n\n", &summary(rows), "\n"]);
    let shown: Vec<Vec<String>> = rows.iter().map(cells).collect();
    text += &table(&["case", "covers", "= BuildKit", "= buildah", "explanation"], &shown);
    text += "\n## What must fail\n\nWhat stave says of each case that no builder may build.\n\n";
    let failing = rows.iter().filter_map(|row| {
        let said = row.made.as_ref().err()?;
        row.case.about.fails.as_ref()?;
        Some(vec![row.case.name.clone(), format!("`{}`", said.replace('|', "\\|"))])
    });
    text += &table(&["case", "message"], &failing.collect::<Vec<_>>());
    text += &covered(rows);
    text
}

fn cells(row: &Row) -> Vec<String> {
    let about = &row.case.about;
    let mut notes: Vec<String> = Vec::new();
    if let Some(bug) = &about.known_bug {
        notes.push(format!("known bug: {bug}"));
    }
    for peer in Peer::ALL {
        let reasons = row.verdicts.get(&peer).into_iter().flat_map(|verdict| &verdict.reasons);
        notes.extend(reasons.map(|reason| format!("{}: {reason}", peer.key())));
        notes.extend(row.case.without(peer).map(|reason| format!("not {}: {reason}", peer.key())));
    }
    let by_hand = if row.case.has_expectations() { " (by hand)" } else { "" };
    vec![
        format!("`{}` {}", row.case.name, about.sentence).replace('|', "\\|"),
        about.covers.join(" "),
        cell(row, Peer::BuildKit).to_owned(),
        format!("{}{by_hand}", cell(row, Peer::Buildah)),
        notes.join("; ").replace('|', "\\|"),
    ]
}

fn cell(row: &Row, peer: Peer) -> &'static str {
    match row.verdicts.get(&peer) {
        None => "-",
        Some(verdict) if !verdict.unexplained.is_empty() => "**differs**",
        Some(verdict) if !verdict.reasons.is_empty() => "differs",
        Some(_) if row.case.about.fails.is_some() => "both fail",
        Some(_) => "same",
    }
}

/// Which cases there are for each number.
fn covered(rows: &[Row]) -> String {
    let mut by_number: BTreeMap<(&str, u32), BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        for number in &row.case.about.covers {
            let (kind, digits) = number.split_at(1);
            by_number.entry((kind, digits.parse().unwrap_or(0))).or_default().insert(&row.case.name);
        }
    }
    let mut text = "\n## What is covered\n\n".to_owned();
    for kind in ["A", "B", "T"] {
        let numbers: Vec<String> = by_number
            .keys()
            .filter(|(found, _)| *found == kind)
            .map(|(_, number)| if kind == "T" { format!("T{number}") } else { format!("{kind}{number:03}") })
            .collect();
        text.extend([&numbers.len().to_string(), " of ", kind, ": ", &numbers.join(" "), "\n\n"]);
    }
    text.trim_end().to_owned() + "\n"
}

/// The line that says what went wrong.
pub(super) fn first_error(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("error"));
    let line = line.or_else(|| said.lines().last()).unwrap_or_default();
    line.split(' ').map(without_id).collect::<Vec<_>>().join(" ")
}

/// A word, or a placeholder for one that is another in each run: the short form of a key.
fn without_id(word: &str) -> &str {
    let hex = word.strip_suffix(':').unwrap_or(word);
    if hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) { "[id]:" } else { word }
}
