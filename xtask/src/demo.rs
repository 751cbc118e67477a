//! `cargo xtask demo`: the story, both ways, on this machine, with sizes and times.

use crate::failure::{At, Failure, Result};
use crate::place::{Place, copy_files};
use crate::stave::Stave;
use crate::table::{size, table, time};
use crate::{binary, run, standins};
use stave_testkit::page;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const MULTI: &str = "link-counter:latest";
const PACKED: &str = "link-counter:packed";
const COMPILE: &str = "link-counter:compile";

/// The stage that compiles must be as large as the story says, and the image as small.
const COMPILE_BYTES_MIN: u64 = 700_000_000;
const IMAGE_BYTES_MAX: u64 = 15_000_000;

/// Runs all of it.
pub(crate) fn command(place: &Place) -> Result {
    // First what may be missing on the machine, then what takes a while.
    let served = standins::serve(place)?;
    println!("base images: stand-ins for golang:1.7.3 and alpine:latest, served on {}", served.registry.address());
    println!("building stave, static and optimised");
    let start = Instant::now();
    let binary = binary::build(place, binary::Profile::Release)?;
    println!("  {} in {}", size(binary.metadata().at("read", &binary)?.len()), time(start.elapsed()));
    let home = place.dir("demo")?;
    let stave = Stave::new(binary, &home, served.dir.join("registries.conf"))?;
    let work = home.join("work");
    copy_files(&place.example(), &work)?;
    let times = build_both_ways(&stave, &work)?;
    show_times(&times);
    show_sizes(&stave, &work)?;
    compare(&stave, &work)?;
    run_it(&stave, &work)
}

struct Times {
    first: Duration,
    again: Duration,
    cold: Duration,
    script: Duration,
}

fn build_both_ways(stave: &Stave, work: &Path) -> Result<Times> {
    println!("\none Dockerfile with two stages: stave build -t {MULTI} .");
    let shown = |args: &[&str]| -> Result<Duration> {
        let start = Instant::now();
        run::show(&mut stave.command(work, args))?;
        Ok(start.elapsed())
    };
    let first = shown(&["build", "-t", MULTI, "."])?;
    let again = stave.timed(work, &["build", "-t", MULTI, "."])?;
    let cold = stave.timed(work, &["build", "--no-cache", "-t", MULTI, "."])?;
    println!("\ntwo Dockerfiles and a script: ./build.sh, in which `docker` is a link to stave");
    let start = Instant::now();
    run::show(&mut stave.other(work, &work.join("build.sh")))?;
    Ok(Times { first, again, cold, script: start.elapsed() })
}

fn show_times(times: &Times) {
    let row = |name: &str, duration| vec![name.to_owned(), time(duration)];
    let rows = [
        row("two stages, first time in this store", times.first),
        row("two stages, nothing changed", times.again),
        row("two stages, --no-cache", times.cold),
        row("two Dockerfiles and the script, what compiles is known", times.script),
    ];
    println!("\n{}", table(&["build", "time"], &rows));
}

fn show_sizes(stave: &Stave, work: &Path) -> Result {
    let bytes = |image: &str| -> Result<u64> {
        let size = stave.inspect(work, image)?["Size"].as_u64();
        size.ok_or_else(|| Failure::new(format!("`stave inspect {image}` says no size")))
    };
    let (compile, multi, packed) = (bytes(COMPILE)?, bytes(MULTI)?, bytes(PACKED)?);
    let row = |name: &str, bytes| vec![name.to_owned(), size(bytes)];
    let rows = [
        row("what compiles", compile),
        row("the image of the two stages", multi),
        row("the image of the script", packed),
    ];
    println!("{}", table(&["image", "size"], &rows));
    if compile < COMPILE_BYTES_MIN || multi > IMAGE_BYTES_MAX {
        return Err(Failure::new("the sizes are not those of the story: over 700 MB, then under 15 MB"));
    }
    Ok(())
}

/// Both ways give the same files and the same configuration, and nothing of what compiled.
fn compare(stave: &Stave, work: &Path) -> Result {
    // The program was compiled twice, into the same bytes; its name differs in neither way.
    let (multi, packed) = (stave.files(work, MULTI)?, stave.files(work, PACKED)?);
    if let Some(line) = multi.iter().find(|line| !packed.contains(line)) {
        return Err(Failure::new(format!("only the image of the two stages has: {line}")));
    }
    if let Some(line) = packed.iter().find(|line| !multi.contains(line)) {
        return Err(Failure::new(format!("only the image of the script has: {line}")));
    }
    let (left, right) = (stave.inspect(work, MULTI)?, stave.inspect(work, PACKED)?);
    if left["Config"] != right["Config"] {
        return Err(Failure::new("the configurations of the two images differ"));
    }
    println!("same in both images: {} files, and the configuration", multi.len());
    Ok(())
}

fn run_it(stave: &Stave, work: &Path) -> Result {
    let server = page::serve();
    let url = format!("url={}/", server.url());
    let args = ["run", "--rm", "--network", "host", "-e", url.as_str(), MULTI];
    let printed = stave.capture(work, &args)?;
    println!("\nstave {}\n{}", args.join(" "), printed.trim_end());
    if printed.trim_end() != page::counts() {
        return Err(Failure::new(format!("the page has {}", page::counts())));
    }
    fs::remove_file(work.join("files.tar")).at("remove", work)?;
    println!("\nThese are the links of a page that this program served. The store is kept; the next demo is quick.");
    Ok(())
}
