//! The row of the builder's memory: a layer of 10 GB, most of it a hole, through the builder into archives.

use super::builder::{Builder, Job};
use super::{Bench, Cell, Line};
use crate::failure::{At, Failure, Result};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

const LAYER_BYTES: u64 = 10_000_000_000;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Measures it for stave, whose processes are all its own; what a daemon takes for one build cannot be told.
pub(super) fn line(bench: &Bench) -> Result<Line> {
    let context = super::scene::dockerfile(&bench.home.join("context-memory"), "FROM scratch\nCOPY big /big\n")?;
    let big = context.join("big");
    fs::File::create(&big).and_then(|file| file.set_len(LAYER_BYTES)).at("create", &big)?;
    let mut cells = Vec::new();
    for builder in &bench.builders {
        let mut most = None;
        for compression in ["gzip", "zstd"] {
            let Builder::Stave(_) = builder else { continue };
            let file = bench.home.join("memory.tar");
            let job = Job { context: &context, no_cache: true, archive: Some((&file, compression)) };
            let command = builder.command(job).ok_or_else(|| Failure::new("stave writes archives"));
            let mut child =
                command?.stdout(Stdio::null()).stderr(Stdio::null()).spawn().at("start", builder.name().as_ref())?;
            let mut peak = 0;
            let status = loop {
                peak = peak.max(peak_kib(child.id()));
                match child.try_wait().at("wait for", builder.name().as_ref())? {
                    Some(status) => break status,
                    None => std::thread::sleep(LOOK),
                }
            };
            if !status.success() {
                return Err(Failure::new(format!("the build with {compression} ended with {status}")));
            }
            fs::remove_file(&file).at("remove", &file)?;
            most = most.max(Some(peak));
        }
        cells.push(Cell { time: None, kib: most });
    }
    fs::remove_file(&big).at("remove", &big)?;
    let work = "most memory with a layer of 10 GB, gzip and zstd".to_owned();
    Ok(Line { work, cells, limit: None, goal: "150 MB" })
}

/// The most memory that a process and those that it started have had so far, each at its own worst.
pub(super) fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own: u64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    own + children.split_whitespace().filter_map(|child| child.parse().ok()).map(peak_kib).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_has_that_of_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
        let (own, of_child) = (peak_kib(std::process::id()), peak_kib(child.id()));
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(of_child > 0 && own > of_child, "{own} and {of_child}");
        assert_eq!(peak_kib(child.id()), 0);
    }
}
