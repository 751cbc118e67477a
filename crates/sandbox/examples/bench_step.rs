//! Measures what one step's sandbox costs: medians over many runs of `/bin/true` from a static busybox.
//!
//! `cargo run --release -p stave-sandbox --example bench_step [RUNS]`
#![allow(clippy::print_stdout, reason = "the table goes to standard output")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use stave_sandbox::rootless::{self, IdMap, RootlessOptions};
use stave_sandbox::{Launcher, Network, RootFs, Security, StepIo, StepSpec};
use stave_testkit::needs::busybox;

fn layers(base: &Path, busybox: &Path) -> std::io::Result<()> {
    for directory in ["stubs/proc", "stubs/sys", "stubs/dev", "stubs/etc", "rootfs/bin"] {
        fs::create_dir_all(base.join(directory))?;
    }
    fs::write(base.join("stubs/etc/hosts"), "")?;
    fs::write(base.join("stubs/etc/resolv.conf"), "")?;
    fs::copy(busybox, base.join("rootfs/bin/busybox"))?;
    symlink("busybox", base.join("rootfs/bin/true"))
}

fn spec(base: &Path, number: usize, network: Network, userxattr: bool) -> std::io::Result<StepSpec> {
    for name in ["upper", "work"] {
        fs::create_dir_all(base.join(format!("{number}/{name}")))?;
    }
    Ok(StepSpec {
        root: RootFs {
            base: OwnedFd::from(File::open(base)?),
            lowers: vec!["stubs".into(), "rootfs".into()],
            upper: format!("{number}/upper"),
            work: format!("{number}/work"),
            userxattr,
            volatile: true,
        },
        args: vec!["/bin/true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        hostname: "buildkitsandbox".into(),
        network,
        outlet: None,
        hosts: b"127.0.0.1 localhost\n".to_vec(),
        resolv_conf: Vec::new(),
        shm_bytes: 64 << 20,
        mounts: Vec::new(),
        security: Security::Sandbox,
        limits: Vec::new(),
        rights: stave_sandbox::Rights::default(),
        cgroup: None,
    })
}

fn null() -> std::io::Result<OwnedFd> {
    Ok(fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("{name:<44} median {:6.2} ms   min {:6.2}   p95 {:6.2}", at(50), at(0), at(95));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    let base = tempfile::tempdir()?;
    let busybox = busybox().ok_or_else(|| std::io::Error::other("no static busybox; STAVE_BUSYBOX can name one"))?;
    layers(base.path(), &busybox)?;
    let map = rootless::enter(&RootlessOptions::default())?;
    let start = Instant::now();
    let launcher = Launcher::start(&[])?;
    report("start of the launcher", vec![start.elapsed()]);
    let userxattr = map != IdMap::Inherited;
    for (name, network) in [("step, host network", Network::Host), ("step, no network", Network::None)] {
        let (mut spawned, mut whole) = (Vec::new(), Vec::new());
        for number in 0..runs + 5 {
            let spec = spec(base.path(), number, network, userxattr)?;
            let start = Instant::now();
            let io = StepIo::Streams { stdin: null()?, stdout: null()?, stderr: null()? };
            let running = launcher.spawn(&spec, io)?;
            spawned.push(start.elapsed());
            running.wait()?;
            whole.push(start.elapsed());
            fs::remove_dir_all(base.path().join(number.to_string()))?;
        }
        report(&format!("{name}: until the program runs"), spawned.split_off(5));
        report(&format!("{name}: until all is gone"), whole.split_off(5));
    }
    let mut plain = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        Command::new(&busybox).arg("true").status()?;
        plain.push(start.elapsed());
    }
    report("the same program without a sandbox", plain);
    Ok(())
}
