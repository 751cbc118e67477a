//! Measures what a build does with a context of 20,000 files, next to `cp -a`: medians in milliseconds.
//!
//! `cargo run --release -p stave-tree --example bench_tree [DIRECTORY]`; the directory (the current one if not given) is on
//! the file system to be measured.
#![allow(clippy::print_stdout, reason = "it is a program whose output is its result")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stave_pattern::IgnoreFile;
use stave_tree::{
    Context, CopyManifest, CopyReport, CopyRequest, Dir, GzipWriter, HashMemory, LayerFormat, Limits, Previous,
    Selection, Time, ZstdWriter, apply_layer, copy_into, layer_digest, pack_layer,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FILES: usize = 20_000;
const DIRECTORIES: usize = 1_000;
const BYTES: usize = 160 * 1024 * 1024;
const ROUNDS: usize = 5;
const FORMAT: LayerFormat = LayerFormat { userxattr: false };

fn main() -> Result<()> {
    let base = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let work = base.join(format!("bench-tree.{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let result = run(&work);
    fs::remove_dir_all(&work)?;
    result
}

fn run(work: &Path) -> Result<()> {
    let context = work.join("context");
    generate(&context)?;
    sync()?;
    let memory_dir = Dir::open_ambient(work)?;
    measure("select and digest, nothing remembered", ROUNDS, |_| {
        select(&context, HashMemory::empty(now()?)).map(drop)
    })?;
    // Files are remembered once they are older than two seconds.
    let later = Time { seconds: now()?.seconds + 10, nanoseconds: 0 };
    let learned = open(&context, HashMemory::load(&memory_dir, b"memory", later))?;
    learned.select(&["."])?;
    learned.memory().save(&memory_dir, b"memory")?;
    let unchanged = |_| select(&context, HashMemory::load(&memory_dir, b"memory", now()?)).map(drop);
    measure("select and digest, nothing changed", 4 * ROUNDS, unchanged)?;
    let ignoring = |_| {
        let ignore = IgnoreFile::parse(b"node_modules\n.git\n**/*.log\n*.md\n!README.md\ntarget/**\n**/*.tmp\ndocs\n")?;
        let memory = HashMemory::load(&memory_dir, b"memory", now()?);
        let context = Context::open(Dir::open_ambient(&context)?, Some(ignore), memory);
        Ok(context.select(&["."])?.digest().map(drop)?)
    };
    measure("the same with an ignore file of 8 lines", 4 * ROUNDS, ignoring)?;
    copies(work, &context)?;
    archives(work)
}

fn copies(work: &Path, context: &Path) -> Result<()> {
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let target = work.join(format!("copy{round}"));
        sync()?;
        if round % 2 == 0 {
            fs::create_dir(&target)?;
            let selection = select(context, HashMemory::empty(now()?))?;
            own.push(timed(|| copy_to(&target, selection, None).map(drop))?);
        } else {
            let status = || Ok(Command::new("cp").arg("-a").arg(context).arg(&target).status().map(drop)?);
            peer.push(timed(status)?);
        }
    }
    report("copy into a layer, cold", &mut own);
    report("cp -a", &mut peer);
    println!("{:44} {:8.2}", "ratio", median(&mut own).as_secs_f64() / median(&mut peer).as_secs_f64());
    let first = work.join("layer0");
    fs::create_dir(&first)?;
    let manifest = copy_to(&first, select(context, HashMemory::empty(now()?))?, None)?.manifest.to_bytes();
    fs::write(context.join("d0/f0"), "changed")?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let layer = work.join(format!("changed{round}"));
        fs::create_dir(&layer)?;
        let selection = select(context, HashMemory::empty(now()?))?;
        times.push(timed(|| {
            let manifest = CopyManifest::from_bytes(&manifest).ok_or("damaged manifest")?;
            let previous = Dir::open_ambient(&first)?;
            let report = copy_to(&layer, selection, Some(Previous { layer: &previous, manifest: &manifest }))?;
            assert_eq!(report.linked, FILES as u64 - 1);
            Ok(())
        })?);
        fs::remove_dir_all(&layer)?;
    }
    report("copy into a layer, one file changed", &mut times);
    Ok(())
}

fn archives(work: &Path) -> Result<()> {
    let layer = Dir::open_ambient(&work.join("layer0"))?;
    measure("digest of the layer", ROUNDS, |_| Ok(layer_digest(&layer, FORMAT).map(drop)?))?;
    measure("pack to nowhere", ROUNDS, |_| {
        Ok(pack_layer(&layer, FORMAT, stave_tree::Times::Real, &mut std::io::sink()).map(drop)?)
    })?;
    measure("pack and gzip -6, 2 threads", 2, |_| {
        let mut writer = GzipWriter::new(std::io::sink(), 6, 2);
        pack_layer(&layer, FORMAT, stave_tree::Times::Real, &mut writer)?;
        Ok(writer.finish().map(drop)?)
    })?;
    measure("pack and zstd -3, 2 threads", 2, |_| {
        let mut writer = ZstdWriter::new(std::io::sink(), 3, 2);
        pack_layer(&layer, FORMAT, stave_tree::Times::Real, &mut writer)?;
        Ok(writer.finish().map(drop)?)
    })?;
    let mut tar = Vec::new();
    pack_layer(&layer, FORMAT, stave_tree::Times::Real, &mut tar)?;
    let file = work.join("layer.tar");
    fs::write(&file, &tar)?;
    let fresh = |name: String| -> Result<PathBuf> {
        let path = work.join(name);
        fs::create_dir(&path)?;
        sync()?;
        Ok(path)
    };
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let path = fresh(format!("apply{round}"))?;
        own.push(timed(|| {
            Ok(apply_layer(&tar[..], &Dir::open_ambient(&path)?, FORMAT, &Limits::default()).map(drop)?)
        })?);
        fs::remove_dir_all(path)?;
        let path = fresh(format!("tar{round}"))?;
        peer.push(timed(|| Ok(Command::new("tar").arg("xf").arg(&file).arg("-C").arg(&path).status().map(drop)?))?);
        fs::remove_dir_all(path)?;
    }
    report("apply the layer", &mut own);
    report("tar xf", &mut peer);
    Ok(())
}

fn open(context: &Path, memory: HashMemory) -> Result<Context> {
    Ok(Context::open(Dir::open_ambient(context)?, None, memory))
}

fn select(context: &Path, memory: HashMemory) -> Result<Selection> {
    let selection = open(context, memory)?.select(&["."])?;
    selection.digest()?;
    Ok(selection)
}

fn copy_to(layer: &Path, selection: Selection, previous: Option<Previous<'_>>) -> Result<CopyReport> {
    let request = CopyRequest {
        parent: None,
        selections: vec![selection],
        dest: b"/app",
        dest_is_dir: true,
        owner: None,
        mode: None,
        previous,
        format: FORMAT,
    };
    Ok(copy_into(&request, &Dir::open_ambient(layer)?)?)
}

/// Writes files of about 8 KiB that do not compress to nothing.
fn generate(context: &Path) -> Result<()> {
    let mut state = 1_u64;
    for index in 0..FILES {
        let directory = context.join(format!("d{}", index % DIRECTORIES));
        fs::create_dir_all(&directory)?;
        let mut bytes = Vec::with_capacity(BYTES / FILES);
        while bytes.len() < BYTES / FILES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(format!("{:x} some words that repeat\n", state >> 40).as_bytes());
        }
        fs::write(directory.join(format!("f{index}")), bytes)?;
    }
    Ok(())
}

fn now() -> Result<Time> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Time { seconds: i64::try_from(seconds)?, nanoseconds: 0 })
}

fn sync() -> Result<()> {
    Ok(Command::new("sync").status().map(drop)?)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn measure(what: &str, rounds: usize, mut work: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let mut times = Vec::new();
    for round in 0..rounds {
        times.push(timed(|| work(round))?);
    }
    report(what, &mut times);
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn report(what: &str, times: &mut [Duration]) {
    println!("{what:44} {:8.1} ms", median(times).as_secs_f64() * 1000.0);
}
