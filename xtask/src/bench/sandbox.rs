//! The row of one step's sandbox: what one more `RUN ["/bin/true"]` costs, beside bare runs of runc and crun.

use super::builder::Job;
use super::{Bench, Cell, Line, median, scene};
use crate::failure::{At, Failure, Result};
use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const STEPS: u32 = 40;

/// Measures it, interleaved as all rows are.
pub(super) fn line(bench: &Bench, runs: usize) -> Result<Line> {
    let many = scene::dockerfile(&bench.home.join("sandbox-many"), &scene::bare_steps(STEPS as usize + 1))?;
    let one = scene::dockerfile(&bench.home.join("sandbox-one"), &scene::bare_steps(1))?;
    let bundle = bundle(bench)?;
    let peers: Vec<(&str, PathBuf)> = ["runc", "crun"]
        .into_iter()
        .filter_map(|name| Some((name, run::find(name)?)))
        .filter(|(name, program)| runs_here(name, program, &bundle))
        .collect();
    let mut steps = vec![Vec::new(); bench.builders.len()];
    let mut runtimes = vec![Vec::new(); peers.len()];
    let mut spawns = Vec::new();
    for _ in 0..runs {
        for (builder, times) in bench.builders.iter().zip(&mut steps) {
            let timed = |context: &Path| -> Result<Duration> {
                let job = Job { context, no_cache: true, archive: None };
                let command = builder.command(job).ok_or_else(|| Failure::new("every builder builds"));
                run::timed(&mut command?)
            };
            times.push(timed(&many)?.saturating_sub(timed(&one)?) / STEPS);
        }
        for ((name, program), times) in peers.iter().zip(&mut runtimes) {
            times.push(runtime(name, program, &bundle)?);
        }
        spawns.push(run::timed(&mut Command::new("/bin/true"))?);
    }
    let cells = steps.into_iter().map(|times| Cell { time: Some(median(times)), kib: None }).collect();
    let notes: Vec<String> = peers
        .iter()
        .zip(runtimes)
        .map(|((name, _), times)| format!("{name} alone {}", crate::table::time(median(times))))
        .collect();
    Ok(Line {
        work: format!("one more step, `RUN [\"/bin/true\"]` ({})", notes.join(", ")),
        cells,
        limit: Some((median(spawns), "start a process")),
        goal: "2 ms",
    })
}

/// An OCI bundle of the small base image that runs `/bin/true`.
fn bundle(bench: &Bench) -> Result<PathBuf> {
    let dir = bench.home.join("bundle");
    let root = dir.join("rootfs");
    if !root.is_dir() {
        fs::create_dir_all(&root).at("create", &root)?;
        let tar = bench.served.dir.join("busybox.tar");
        run::quiet(Command::new("tar").arg("-xpf").arg(tar).arg("-C").arg(&root))?;
        let runc = run::find("runc").ok_or_else(|| Failure::new("runc is not installed"))?;
        run::quiet(Command::new(runc).arg("spec").current_dir(&dir))?;
        let path = dir.join("config.json");
        let text = fs::read_to_string(&path).at("read", &path)?;
        let text = text.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"/bin/true\"");
        fs::write(&path, text).at("write", &path)?;
    }
    Ok(dir)
}

/// Whether a runtime runs at all on this machine: some refuse its mixture of cgroup versions.
fn runs_here(name: &str, program: &Path, bundle: &Path) -> bool {
    let result = runtime(name, program, bundle);
    if let Err(failure) = &result {
        eprintln!("{name} is left out: {failure}");
    }
    result.is_ok()
}

fn runtime(name: &str, program: &Path, bundle: &Path) -> Result<Duration> {
    let mut command = Command::new(program);
    if name == "crun" {
        // Cgroups are not what is measured.
        command.arg("--cgroup-manager=disabled");
    }
    command.args(["run", "--bundle"]).arg(bundle).arg(format!("stave-bench-{}", std::process::id()));
    run::timed(&mut command)
}
