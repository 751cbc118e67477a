//! Turns `docs` into the book, and says which of its links lead nowhere.
//!
//! mdBook is installed once below `target/tools`, in the version named here. It knows nothing of what the pages say:
//! their examples are run by `crates/cli/tests/it/book`.

mod html;
pub(crate) mod summary;

use crate::failure::{At, Failure, Result};
use crate::place::{Place, cargo};
use crate::run;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Of crates.io.
const MDBOOK: &str = "0.5.4";

/// Builds the book, checks it, and returns its first page.
pub(crate) fn build(place: &Place) -> Result<PathBuf> {
    let program = mdbook(place)?;
    let output = place.target.join("book");
    if output.exists() {
        fs::remove_dir_all(&output).at("remove", &output)?;
    }
    let mut command = Command::new(program);
    command.arg("build").arg(&place.root).arg("--dest-dir").arg(&output);
    let said = run::both(&mut command)?;
    let complaints: Vec<&str> =
        said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).map(str::trim).collect();
    if !complaints.is_empty() {
        return Err(Failure::new(format!("mdbook says:\n  {}", complaints.join("\n  "))));
    }
    let checked = html::check(&output)?;
    if checked.findings.is_empty() {
        println!("book: {} pages, {} links, all lead somewhere", checked.pages, checked.links);
        return Ok(output.join("index.html"));
    }
    let count = checked.findings.len();
    Err(Failure::new(format!("{count} links of the book lead nowhere\n  {}", checked.findings.join("\n  "))))
}

/// Installs the program, unless this version of it is there.
fn mdbook(place: &Place) -> Result<PathBuf> {
    let tools = place.dir("tools")?;
    let lock = File::create(tools.join("lock")).at("create", &tools)?;
    lock.lock().at("lock", &tools)?;
    let program = tools.join("bin/mdbook");
    if has_version(&program) {
        return Ok(program);
    }
    println!("installing mdbook {MDBOOK}");
    let mut install = cargo();
    // Not optimised: it is compiled in a quarter of the time, and needs a second for this book.
    install.args([
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "--force",
        "--no-default-features",
        "--features=search",
    ]);
    install.arg(format!("mdbook@{MDBOOK}")).arg("--root").arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
    install.env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(&tools);
    run::quiet(&mut install)?;
    fs::remove_dir_all(tools.join("build")).at("remove", &tools.join("build"))?;
    Ok(program)
}

fn has_version(program: &Path) -> bool {
    program.is_file() && run::capture(Command::new(program).arg("--version")).is_ok_and(|said| said.contains(MDBOOK))
}

/// The path that a relative link of a document in `dir` names, seen from where `dir` is seen from.
pub(crate) fn follow(dir: &Path, link: &str) -> PathBuf {
    let mut path = dir.to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            _ => return PathBuf::from("outside of everything"),
        }
    }
    path
}
