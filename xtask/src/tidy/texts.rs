//! Words that must not stand in the repository: paths of one machine, unfinished work, unsafe outside its crate.

use super::Source;

/// A word, where it may stand, and why it may not stand elsewhere. Split so that this file does not have it.
const FORBIDDEN: &[(&[&str], Place, &str)] = &[
    (&["/wo", "rk/main"], Place::Nowhere, "is a path of one machine"),
    (&["/wo", "rk/shared"], Place::Nowhere, "is a path of one machine"),
    (&["/wo", "rk/.lib"], Place::Nowhere, "is a path of one machine"),
    (&["/tm", "p/plan"], Place::Nowhere, "is a path of one machine"),
    (&["/tm", "p/t/"], Place::Nowhere, "is a path of one machine"),
    (&["#[ig", "nore"], Place::Nowhere, "leaves a test out without anybody seeing it"),
    (&["#[should_", "panic"], Place::Nowhere, "does not say which panic it expects"),
    (&["to", "do!("], Place::Nowhere, "is unfinished"),
    (&["unimple", "mented!("], Place::Nowhere, "is unfinished"),
    (&["FIX", "ME"], Place::Nowhere, "is unfinished"),
    (&["unsafe", "_code, reason"], Place::Below("crates/sandbox"), "belongs into the sandbox only"),
    (&["tar::Arch", "ive::unpack"], Place::Nowhere, "follows links out of its directory"),
];

enum Place {
    Nowhere,
    Below(&'static str),
}

/// Lists the lines that have one of the words.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for (word, place, why) in FORBIDDEN {
        let word = word.concat();
        for source in sources {
            if matches!(place, Place::Below(dir) if source.is_below(dir)) {
                continue;
            }
            let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(&word));
            let place =
                |(number, _): (usize, &str)| format!("{}:{}: `{word}` {why}", source.path.display(), number + 1);
            findings.extend(lines.map(place));
        }
    }
    findings
}
