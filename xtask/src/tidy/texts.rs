//! Words that must not stand in the repository: paths of one machine, unfinished work, unsafe outside its crate.

use super::Source;

/// A word, where it may stand, and why it may not stand elsewhere. Split so that this file does not have it.
const FORBIDDEN: &[(&[&str], Place, &str)] = &[
    (&["/wo", "rk/main"], Place::Nowhere, "is a path of one machine"),
    (&["/wo", "rk/shared"], Place::Nowhere, "is a path of one machine"),
    (&["/wo", "rk/.lib"], Place::Nowhere, "is a path of one machine"),
    (&["/tm", "p/plan"], Place::Nowhere, "is a path of one machine"),
    (&["/tm", "p/t/"], Place::Nowhere, "is a path of one machine"),
    (&["#[ig", "nore"], Place::Documents, "leaves a test out without anybody seeing it"),
    (&["#[should_", "panic"], Place::Documents, "does not say which panic it expects"),
    (&["to", "do!("], Place::Documents, "is unfinished"),
    (&["unimple", "mented!("], Place::Documents, "is unfinished"),
    (&["FIX", "ME"], Place::Documents, "is unfinished"),
    (&["unsafe", "_code, reason"], Place::Below("crates/sandbox"), "belongs into the sandbox only"),
    (&["tar::Arch", "ive::unpack"], Place::Documents, "follows links out of its directory"),
];

enum Place {
    /// In no file at all.
    Nowhere,
    /// In documents that speak about it, but in no code.
    Documents,
    /// In code below this directory.
    Below(&'static str),
}

/// Lists the lines that have one of the words.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for (word, place, why) in FORBIDDEN {
        let word = word.concat();
        for source in sources {
            let allowed = match place {
                Place::Nowhere => false,
                Place::Documents => !source.is_rust(),
                Place::Below(dir) => !source.is_rust() || source.is_below(dir),
            };
            if allowed {
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
