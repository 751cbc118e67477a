//! The book's table of contents: the lists of pages below a chapter that is a directory's `README.md` are made from the
//! directory, everything else is written by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The table of contents.
pub(crate) const SUMMARY: &str = "docs/SUMMARY.md";

/// Returns the text of the table with its lists made anew. `pages` are all pages below `docs`, with their texts.
pub(crate) fn renewed(summary: &str, pages: &BTreeMap<&Path, &str>) -> String {
    let mut text = String::new();
    let mut below: Option<usize> = None;
    for line in summary.lines() {
        let depth = line.len() - line.trim_start().len();
        if below.is_some_and(|outer| depth > outer && line.trim_start().starts_with("- ")) {
            continue;
        }
        below = None;
        text.push_str(line);
        text.push('\n');
        let Some(dir) = link(line).and_then(|link| link.strip_suffix("/README.md")) else { continue };
        below = Some(depth);
        let dir = Path::new("docs").join(dir);
        let inside = pages.iter().filter(|(path, _)| path.parent() == Some(dir.as_path()));
        for (path, page) in inside.filter(|(path, _)| !path.ends_with("README.md")) {
            let link = path.strip_prefix("docs").unwrap_or(path).display();
            writeln!(text, "{:depth$}  - [{}]({link})", "", title(page)).expect("writing to memory does not fail");
        }
    }
    text
}

/// Pages that the table does not name.
pub(crate) fn forgotten<'a>(summary: &str, pages: &BTreeMap<&'a Path, &str>) -> Vec<&'a Path> {
    let listed: Vec<&str> = summary.lines().filter_map(link).collect();
    let is_listed = |path: &Path| listed.iter().any(|link| Path::new("docs").join(link) == path);
    pages.keys().copied().filter(|path| *path != Path::new(SUMMARY) && !is_listed(path)).collect()
}

/// The target of the link in a line.
fn link(line: &str) -> Option<&str> {
    line.split_once("](")?.1.strip_suffix(')')
}

/// The first heading of a page, without what is markup in it.
fn title(page: &str) -> String {
    page.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("untitled").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_below_directories_are_made_anew_and_the_rest_stays() {
        let pages: BTreeMap<&Path, &str> = [
            ("docs/a.md", "# A"),
            ("docs/sub/README.md", "# Sub"),
            ("docs/sub/x.md", "<!-- made -->\n# `stave` x\n"),
            ("docs/sub/y.md", "# y"),
        ]
        .map(|(path, text)| (Path::new(path), text))
        .into();
        let old = "# Summary\n\n- [Sub](sub/README.md)\n  - [gone](sub/gone.md)\n- [A](a.md)\n  - [kept](kept.md)\n";
        let new = "# Summary\n\n- [Sub](sub/README.md)\n  - [stave x](sub/x.md)\n  - [y](sub/y.md)\n- [A](a.md)\n  - [kept](kept.md)\n";
        assert_eq!(renewed(old, &pages), new);
        assert_eq!(forgotten(old, &pages), [Path::new("docs/sub/x.md"), Path::new("docs/sub/y.md")]);
        assert_eq!(forgotten(new, &pages), [] as [&Path; 0]);
    }
}
