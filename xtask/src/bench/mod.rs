//! `cargo xtask bench`: stave and the peers that this machine has, side by side, as a Markdown table.
//!
//! Runs are interleaved (every builder once, then every builder again), so that a slow minute of the machine hits all
//! of them. Medians are shown, with ratios to stave. These are benchmarks, not tests: nothing fails by being slow.

mod builder;
mod debug;
mod dockerd;
mod explain;
mod limit;
mod memory;
mod output;
mod progress;
mod rows;
mod sandbox;
mod scene;

use crate::failure::{At, Failure, Result};
use crate::place::Place;
use crate::standins::StandIns;
use crate::stave::Stave;
use crate::table::{table, time};
use crate::{binary, packages, run, standins};
use builder::Builder;
use rows::{ROWS, Row};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What all rows use.
struct Bench {
    place: Place,
    served: StandIns,
    /// Everything that the builders keep, removed at the end.
    home: PathBuf,
    /// stave first.
    builders: Vec<Builder>,
}

/// A row of the table, measured.
struct Line {
    work: String,
    cells: Vec<Cell>,
    limit: Option<(Duration, &'static str)>,
    goal: &'static str,
}

/// What a builder took, or that it cannot do that.
struct Cell {
    time: Option<Duration>,
    /// Memory, for the row that is about that.
    kib: Option<u64>,
}

/// The row that `sandbox` measures.
const SANDBOX: &str = "sandbox";
/// The row that `progress` measures.
const PROGRESS: &str = "progress";
/// The row that `explain` measures.
const EXPLAIN: &str = "explain";
/// The row that `memory` measures.
const MEMORY: &str = "memory";
/// The row that `output` measures.
const OUTPUT: &str = "output";
/// The row that `debug` measures.
const DEBUG: &str = "debug";

/// Runs the rows that `args` name, or all.
pub(crate) fn command(place: &Place, args: &[String]) -> Result {
    let (runs, chosen) = options(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("the peers of this benchmark (dockerd, buildah with overlay) need root"));
    }
    packages::ensure(packages::PEERS)?;
    let binary = binary::build(place, binary::Profile::Release)?;
    let served = standins::serve(place)?;
    let home = place.dir("bench")?;
    let builders = builders(binary, &served, &home)?;
    let bench = Bench { place: place.clone(), served, home, builders };
    let measured = bench.lines(&chosen, runs);
    if let Ok(lines) = &measured {
        println!("{}", bench.report(lines, runs));
    }
    let cleaned = bench.clean_up();
    measured.and(cleaned)
}

/// The number of runs, and the names of the chosen rows.
fn options(args: &[String]) -> Result<(usize, Vec<&'static str>)> {
    let (mut runs, mut chosen) = (5, Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.clone().next()) {
            ("--quick", _) => runs = 1,
            ("--row", Some(name)) => {
                words.next();
                let names = ROWS.iter().map(|row| row.name).chain([SANDBOX, PROGRESS, EXPLAIN, MEMORY, OUTPUT, DEBUG]);
                let known = names.clone().find(|known| known == name);
                let all: Vec<&str> = names.collect();
                chosen.push(
                    known.ok_or_else(|| {
                        Failure::new(format!("no row is named `{name}`; there are {}", all.join(", ")))
                    })?,
                );
            }
            (other, _) => {
                return Err(Failure::new(format!("unknown option `{other}`: bench [--quick] [--row NAME]...")));
            }
        }
    }
    Ok((runs, chosen))
}

fn builders(binary: PathBuf, served: &StandIns, home: &std::path::Path) -> Result<Vec<Builder>> {
    let conf = served.dir.join("registries.conf");
    let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let mut builders = vec![Builder::Stave(Stave::new(binary, &home.join("stave"), conf.clone())?)];
    builders.extend(builder::buildah("Buildah", run::find("buildah"), home.join("buildah"), &conf));
    builders.extend(builder::buildah("Buildah (BUILDAH_NEW)", named("BUILDAH_NEW"), home.join("buildah-new"), &conf));
    if run::find("dockerd").is_some() {
        builders.push(Builder::Docker(dockerd::Dockerd::start(&home.join("docker"), served.registry.address())?));
    }
    builders.extend(builder::buildctl_of_environment());
    Ok(builders)
}

impl Bench {
    fn lines(&self, chosen: &[&str], runs: usize) -> Result<Vec<Line>> {
        let is_chosen = |name: &str| chosen.is_empty() || chosen.contains(&name);
        let mut lines = Vec::new();
        for row in ROWS.iter().filter(|row| is_chosen(row.name)) {
            eprintln!("{}: {}", row.name, row.work);
            let line = self.line(row, runs)?;
            eprintln!("    {}", line.cells()[1..].join(" | "));
            lines.push(line);
        }
        if is_chosen(SANDBOX) {
            eprintln!("{SANDBOX}: one step's sandbox");
            lines.push(sandbox::line(self, runs)?);
        }
        if is_chosen(PROGRESS) {
            eprintln!("{PROGRESS}: what showing it costs");
            lines.push(progress::line(self, runs)?);
        }
        if is_chosen(EXPLAIN) {
            eprintln!("{EXPLAIN}: what finding a cause costs");
            lines.push(explain::line(self, runs)?);
        }
        if is_chosen(MEMORY) {
            eprintln!("{MEMORY}: memory with a large layer");
            lines.push(memory::line(self)?);
        }
        if is_chosen(OUTPUT) {
            eprintln!("{OUTPUT}: a gigabyte of output");
            lines.push(output::line(self, runs)?);
        }
        if is_chosen(DEBUG) {
            eprintln!("{DEBUG}: a shell in a failed state");
            lines.push(debug::line(self, runs)?);
        }
        Ok(lines)
    }

    fn line(&self, row: &Row, runs: usize) -> Result<Line> {
        let context = (row.scene)(self, &self.home.join(format!("context-{}", row.name)))?;
        for builder in &self.builders {
            row.warm_up(builder, &context)?;
        }
        let mut times = vec![Vec::new(); self.builders.len()];
        let mut limits = Vec::new();
        for count in 0..runs {
            for (builder, times) in self.builders.iter().zip(&mut times) {
                row.prepare(builder, &context, count)?;
                // What earlier runs left for the disk must not be written while this one is measured.
                rustix::fs::sync();
                row.let_deleted_files_be_forgotten();
                times.extend(row.measure(builder, &context, &self.home)?);
            }
            if let Some(limit) = row.limit {
                rustix::fs::sync();
                limits.push(limit(self, &context)?);
            }
        }
        let cell = |times: Vec<Duration>| Cell { time: (!times.is_empty()).then(|| median(times)), kib: None };
        let cells = times.into_iter().map(cell).collect();
        let limit = (!limits.is_empty()).then(|| (median(limits), row.limit_name));
        Ok(Line { work: row.work.to_owned(), cells, limit, goal: row.goal })
    }

    fn report(&self, lines: &[Line], runs: usize) -> String {
        let names = self.builders.iter().map(Builder::name);
        let head: Vec<&str> = ["work"].into_iter().chain(names).chain(["limit", "goal"]).collect();
        let rows: Vec<Vec<String>> = lines.iter().map(Line::cells).collect();
        let note = "In brackets: how many times stave's time. Medians";
        format!("{}\n{note} of {runs} interleaved runs.", table(&head, &rows))
    }

    /// Ends the daemons, then removes what the builders kept. The unpacked trees and contexts stay for the next time.
    fn clean_up(self) -> Result {
        let home = self.home.clone();
        for builder in &self.builders {
            builder.reset()?;
        }
        drop(self);
        // buildah and dockerd leave mounts behind. What was mounted last is unmounted first.
        for line in stave_testkit::leaks::mounts(&home).iter().rev() {
            if let Some(place) = line.split(' ').nth(4) {
                run::quiet(Command::new("umount").arg(place))?;
            }
        }
        for name in ["docker", "stave", "buildah", "buildah-new"] {
            let dir = home.join(name);
            if dir.exists() {
                fs::remove_dir_all(&dir).at("remove", &dir)?;
            }
        }
        Ok(())
    }
}

impl Line {
    fn cells(&self) -> Vec<String> {
        let own = self.cells.first().and_then(|cell| cell.time);
        let shown = |cell: &Cell| match (cell.time, own) {
            _ if cell.kib.is_some() => format!("{} MB", cell.kib.unwrap_or_default() * 1024 / 1_000_000),
            (None, _) => "-".to_owned(),
            (Some(taken), Some(own)) if taken != own => with_ratio(taken, own),
            (Some(taken), _) => time(taken),
        };
        let limit = match (self.limit, own) {
            (Some((limit, name)), Some(own)) => format!("{}: {name}", with_ratio(limit, own)),
            _ => "-".to_owned(),
        };
        let cells = self.cells.iter().map(shown);
        [self.work.clone()].into_iter().chain(cells).chain([limit, self.goal.to_owned()]).collect()
    }
}

/// `1.20 s (3.4)`: a time, and how many times `own` that is.
fn with_ratio(taken: Duration, own: Duration) -> String {
    format!("{} ({:.2})", time(taken), taken.as_secs_f64() / own.as_secs_f64().max(1e-9))
}

/// The middle one; of an even number the lower one of the two.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        let times = [30, 10, 11, 900, 12].map(Duration::from_millis).to_vec();
        assert_eq!(median(times), Duration::from_millis(12));
    }
}
