//! `cargo xtask tidy`: what the compiler and clippy do not check. Pure reading; it changes nothing.

mod codes;
mod docs;
mod edges;
mod licenses;
mod links;
mod lints;
pub(crate) mod metrics;
mod texts;

use crate::book::summary;
use crate::failure::{At, Failure, Result};
use crate::place::Place;
use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository, read.
struct Source {
    /// Relative to the repository's root.
    path: PathBuf,
    text: String,
}

/// Runs every check and lists all findings.
pub(crate) fn command(place: &Place) -> Result {
    let sources = sources(place)?;
    let mut findings = edges::check()?;
    findings.extend(licenses::check(place)?);
    findings.extend(codes::check(&sources));
    findings.extend(docs::check(place, &sources));
    findings.extend(links::check(place, &sources));
    findings.extend(lints::check(place));
    findings.extend(texts::check(&sources));
    findings.extend(metrics::check(&sources));
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    Err(Failure::new(format!("tidy: {} findings\n  {}", findings.len(), findings.join("\n  "))))
}

/// `cargo xtask generate`: writes the index of codes, then the lists in the book's table of contents.
pub(crate) fn generate_command(place: &Place) -> Result {
    codes::write(place)?;
    let sources = sources(place)?;
    let pages = links::pages(&sources);
    let table = pages.get(Path::new(summary::SUMMARY)).copied().unwrap_or_default();
    let path = place.root.join(summary::SUMMARY);
    fs::write(&path, summary::renewed(table, &pages)).at("write", &path)?;
    println!("{}: {} pages", summary::SUMMARY, pages.len());
    Ok(())
}

/// `cargo xtask metrics`: lengths of files and functions, crate by crate.
pub(crate) fn metrics_command(place: &Place) -> Result {
    print!("{}", metrics::report(&sources(place)?));
    Ok(())
}

/// All text files that git tracks or would track.
fn sources(place: &Place) -> Result<Vec<Source>> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&place.root);
    let mut sources = Vec::new();
    for line in run::capture(&mut list)?.lines() {
        let path = place.root.join(line);
        // A file that is deleted but not yet committed, a link, or no text is not looked at.
        if !path.is_file() || path.is_symlink() {
            continue;
        }
        if let Ok(text) = String::from_utf8(fs::read(&path).at("read", &path)?) {
            sources.push(Source { path: line.into(), text });
        }
    }
    Ok(sources)
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Rust that ends in a product: not tests, not this crate, not the testkit.
    fn is_product(&self) -> bool {
        let parts: Vec<_> = self.path.iter().filter_map(|part| part.to_str()).collect();
        self.is_rust() && parts.first() == Some(&"crates") && parts.get(2) == Some(&"src")
    }

    fn is_below(&self, dir: &str) -> bool {
        self.path.starts_with(Path::new(dir))
    }
}
