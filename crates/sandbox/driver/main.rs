//! A small builder for the tests: reads a scenario as JSON from its standard input, runs it, prints what happened.
//!
//! A test is a thread of the test harness, and a launcher must be started by a process of one thread.
#![allow(clippy::print_stdout, reason = "the answer goes to standard output")]
#![allow(clippy::needless_pass_by_value, reason = "a job takes its input by value")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use stave_sandbox::rootless::{self, RootlessOptions};
use stave_sandbox::{
    Exit, Job, JobInput, Launcher, Network, Outlet, ResourceLimit, RootFs, Running, SandboxError, Security, StepIo,
    StepMount, StepSpec, WindowSize,
};

/// What to do.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a scenario is a list of switches")]
struct Scenario {
    /// Become root of a user namespace first, with the ranges in these two files.
    rootless: Option<(PathBuf, PathBuf)>,
    /// Mount a unified cgroup hierarchy over the host's first.
    #[serde(default)]
    cgroup2: bool,
    /// Look at the host first, as `stave doctor` does.
    #[serde(default)]
    doctor: bool,
    /// Directory of the layers.
    base: PathBuf,
    /// Layers, lowest first.
    lowers: Vec<String>,
    /// Steps, all at once with more than one thread.
    #[serde(default)]
    steps: Vec<Step>,
    /// Confined jobs.
    #[serde(default)]
    jobs: Vec<(String, String)>,
    /// Threads that run the steps.
    #[serde(default = "one")]
    threads: usize,
    /// How often the list of steps is run.
    #[serde(default = "one")]
    repeat: usize,
    /// Start the steps, say so, and wait to be killed.
    #[serde(default)]
    hold: bool,
    /// Mount the first step's upper directory again after it, with the check that it is not in use.
    #[serde(default)]
    remount: bool,
}

fn one() -> usize {
    1
}

#[derive(Deserialize, Clone)]
struct Step {
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    cwd: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    no_network: bool,
    /// A way out, at which each caller is told what it said.
    outlet: Option<Outlet>,
    #[serde(default)]
    terminal: bool,
    #[serde(default)]
    mounts: Vec<StepMount>,
    #[serde(default)]
    security: Security,
    #[serde(default)]
    limits: Vec<ResourceLimit>,
    /// Say this to whoever connects to the first socket, and close it.
    greet: Option<String>,
    /// Signal to send once the step has printed a line.
    signal: Option<i32>,
}

/// What came of one step.
#[derive(Serialize)]
struct Outcome {
    exit: String,
    exit_code: Option<i32>,
    stdout: String,
    stderr: String,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    map: String,
    advice: Option<String>,
    steps: Vec<Outcome>,
    jobs: Vec<String>,
    descriptors_before: usize,
    descriptors_after: usize,
    zygote_descriptors_before: usize,
    zygote_descriptors_after: usize,
    remounted: Option<String>,
    findings: Vec<String>,
}

const JOBS: &[Job] = &[
    Job { name: "list", run: list },
    Job { name: "panic", run: |input| panic!("job {}", String::from_utf8_lossy(&input.request)) },
    Job { name: "abort", run: |_| std::process::abort() },
    Job { name: "probe", run: probe },
    Job { name: "read", run: read },
    Job { name: "huge", run: |_| vec![7; 80 << 20] },
    Job {
        name: "forever",
        run: |_| loop {
            std::thread::park();
        },
    },
];

/// Names in the job's root.
fn list(_input: JobInput) -> Vec<u8> {
    let mut names: Vec<String> = fs::read_dir("/")
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names.join(" ").into_bytes()
}

/// What a job can and cannot do.
fn probe(input: JobInput) -> Vec<u8> {
    let mut report = Vec::new();
    let mut say = |what: &str, result: String| report.extend(format!("{what}: {result}\n").bytes());
    say("files", input.files.len().to_string());
    let show =
        |result: std::io::Result<()>| result.err().map_or_else(|| "ok".to_owned(), |error| error.kind().to_string());
    say("write", show(fs::write("/made", "x")));
    say("link", show(fs::create_dir("/sub").and_then(|()| fs::hard_link("/made", "/sub/linked"))));
    say("rename", show(fs::rename("/made", "/sub/renamed")));
    let device =
        rustix::fs::mknodat(rustix::fs::CWD, "/whiteout", rustix::fs::FileType::CharacterDevice, 0o600.into(), 0);
    say("whiteout", show(device.map_err(Into::into)));
    let name = input.request.as_slice();
    let attribute = std::str::from_utf8(name).unwrap_or_default();
    say(
        "attribute",
        show(rustix::fs::setxattr("/sub", attribute, b"y", rustix::fs::XattrFlags::empty()).map_err(Into::into)),
    );
    say("outside", show(fs::metadata("/../../../proc/self").map(drop)));
    say("socket", show(std::net::UdpSocket::bind("127.0.0.1:0").map(drop)));
    say("program", show(std::process::Command::new("/sub/renamed").status().map(drop)));
    let mounted =
        rustix::mount::mount("none", "/sub", "tmpfs", rustix::mount::MountFlags::empty(), None::<&std::ffi::CStr>);
    say("mount", show(mounted.map_err(Into::into)));
    say("thread", std::thread::spawn(|| "ok").join().unwrap_or("failed").to_owned());
    report
}

/// The content of the second file.
fn read(input: JobInput) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = input.files.into_iter().nth(1);
    if let Some(file) = file {
        drop(File::from(file).read_to_end(&mut bytes));
    }
    bytes
}

fn spec(scenario: &Scenario, step: &Step, number: usize) -> StepSpec {
    // What an earlier run left cannot be used again: overlayfs marks a volatile directory.
    if let Err(error) = fs::remove_dir_all(scenario.base.join(format!("steps/{number}"))) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "an old step stays: {error}");
    }
    for name in ["upper", "work"] {
        fs::create_dir_all(scenario.base.join(format!("steps/{number}/{name}"))).expect("directories for the step");
    }
    let base = OwnedFd::from(File::open(&scenario.base).expect("the base"));
    StepSpec {
        root: RootFs {
            base,
            lowers: scenario.lowers.clone(),
            upper: format!("steps/{number}/upper"),
            work: format!("steps/{number}/work"),
            userxattr: scenario.rootless.is_some(),
            volatile: !scenario.remount,
        },
        args: step.args.clone(),
        env: step.env.clone(),
        cwd: step.cwd.clone(),
        user: step.user.clone(),
        hostname: "buildkitsandbox".to_owned(),
        network: if step.no_network { Network::None } else { Network::Host },
        outlet: step.outlet.clone(),
        hosts: b"127.0.0.1 localhost buildkitsandbox\n".to_vec(),
        resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
        shm_bytes: 64 << 20,
        mounts: step.mounts.clone(),
        security: step.security,
        limits: step.limits.clone(),
        rights: stave_sandbox::Rights::default(),
        cgroup: None,
    }
}

fn read_all(file: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // The end of a terminal is an error, after which what came before is complete.
    drop(File::from(file).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn show(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal { number, .. } => format!("signal {number}"),
    }
}

fn failed(error: &SandboxError) -> Outcome {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    Outcome {
        exit: format!("error: {text}"),
        exit_code: error.exit_code(),
        stdout: String::new(),
        stderr: String::new(),
        notes: Vec::new(),
    }
}

fn run(launcher: &Launcher, scenario: &Scenario, step: &Step, number: usize) -> Outcome {
    let spec = spec(scenario, step, number);
    if step.terminal {
        return match launcher.spawn(&spec, StepIo::Terminal(WindowSize { rows: 33, columns: 77 })) {
            Ok(mut running) => {
                let terminal = running.take_terminal().expect("a terminal");
                let mut keyboard = File::from(terminal.try_clone().expect("a copy"));
                keyboard.write_all(b"typed\n").expect("type");
                let stdout = read_all(terminal);
                outcome(&running, stdout, String::new())
            }
            Err(error) => failed(&error),
        };
    }
    let (stdin, our_stdin) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let (our_stdout, stdout) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let (our_stderr, stderr) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    drop(our_stdin);
    match launcher.spawn(&spec, StepIo::Streams { stdin, stdout, stderr }) {
        Ok(mut running) => {
            if let Some(listener) = running.take_outlet() {
                let mut caller = TcpListener::from(listener).accept().expect("a caller").0;
                let mut line = String::new();
                BufReader::new(&caller).read_line(&mut line).expect("it says a line");
                caller.write_all(format!("{:?} {line}", running.extended()).as_bytes()).expect("say it");
            }
            if let (Some(text), Some(listener)) = (&step.greet, running.take_listeners().pop()) {
                let mut caller = UnixListener::from(listener).accept().expect("a caller").0;
                caller.write_all(text.as_bytes()).expect("say it");
            }
            let mut head = String::new();
            if let Some(signal) = step.signal {
                let mut byte = [0];
                while !head.ends_with('\n') && rustix::io::read(&our_stdout, &mut byte).is_ok_and(|count| count == 1) {
                    head.push(char::from(byte[0]));
                }
                running.forward(signal).expect("send a signal");
            }
            let errors = std::thread::spawn(move || read_all(our_stderr));
            let stdout = head + &read_all(our_stdout);
            outcome(&running, stdout, errors.join().expect("the reader"))
        }
        Err(error) => failed(&error),
    }
}

fn outcome(running: &Running, stdout: String, stderr: String) -> Outcome {
    match running.wait() {
        Ok(exit) => Outcome {
            exit: show(exit),
            exit_code: Some(exit.shell_code()),
            stdout,
            stderr,
            notes: running.notes().to_vec(),
        },
        Err(error) => failed(&error),
    }
}

fn job(launcher: &Launcher, base: &Path, name: &str, request: &str) -> String {
    let root = File::open(base.join("job")).expect("the job's directory");
    let file = File::open(base.join("job.txt")).ok();
    let files: Vec<_> = [root.as_fd()].into_iter().chain(file.as_ref().map(AsFd::as_fd)).collect();
    let answer = launcher.confined(name, request.as_bytes(), &files).and_then(|run| {
        if name == "forever" {
            run.kill();
        }
        run.wait()
    });
    match answer {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => failed(&error).exit,
    }
}

fn descriptors(process: &str) -> usize {
    // A launcher that still tidies up after the last step is running; an idle one sleeps.
    let idle = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
    while process != "self" && !fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, idle) {
        std::thread::yield_now();
    }
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// The only child of this process.
fn zygote() -> String {
    let children = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap_or_default();
    children.trim().to_owned()
}

/// Mounts the layers again with `index=on`, which the kernel refuses while another mount uses the upper directory.
fn remount(scenario: &Scenario) -> String {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let path = |name: &str| scenario.base.join(name).to_string_lossy().into_owned();
    let mounted = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_set_string(&context, "lowerdir+", path(&scenario.lowers[0]))?;
        fsconfig_set_string(&context, "upperdir", path("steps/0/upper"))?;
        fsconfig_set_string(&context, "workdir", path("steps/0/work"))?;
        fsconfig_set_string(&context, "index", "on")?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    });
    mounted.map_or_else(|errno| errno.to_string(), |_| "ok".to_owned())
}

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a scenario");
    let scenario: Scenario = serde_json::from_str(&text).expect("a scenario");
    let options = scenario.rootless.clone().map_or_else(RootlessOptions::default, |(subuid, subgid)| RootlessOptions {
        subuid,
        subgid,
        ..RootlessOptions::default()
    });
    let findings = if scenario.doctor { stave_sandbox::probe::probe_with(&options) } else { Vec::new() };
    let map = rootless::enter(&options).expect("a namespace");
    if scenario.cgroup2 {
        rustix::mount::mount(
            "none",
            "/sys/fs/cgroup",
            "cgroup2",
            rustix::mount::MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .expect("a unified cgroup hierarchy");
    }
    let launcher = Launcher::start(JOBS).expect("a launcher");
    let number = AtomicUsize::new(0);
    if scenario.hold {
        return hold(&launcher, &scenario);
    }
    let jobs = scenario.jobs.iter().map(|(name, request)| job(&launcher, &scenario.base, name, request)).collect();
    let zygote = zygote();
    let (mut descriptors_before, mut zygote_descriptors_before) = (0, 0);
    let mut steps = Vec::new();
    for round in 0..scenario.repeat {
        if round < 2 {
            // The first round has opened what is opened once.
            (descriptors_before, zygote_descriptors_before) = (descriptors("self"), descriptors(&zygote));
        }
        let chunk = scenario.steps.len().div_ceil(scenario.threads).max(1);
        let (launcher, scenario, number) = (&launcher, &scenario, &number);
        let outcomes = std::thread::scope(|scope| {
            let threads: Vec<_> = scenario
                .steps
                .chunks(chunk)
                .map(|part| {
                    scope.spawn(move || {
                        part.iter()
                            .map(|step| run(launcher, scenario, step, number.fetch_add(1, Ordering::Relaxed)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread of steps")).collect::<Vec<_>>()
        });
        steps.extend(outcomes);
    }
    let answer = Answer {
        advice: map.advice(),
        map: format!("{map:?}"),
        steps,
        jobs,
        descriptors_before,
        descriptors_after: descriptors("self"),
        zygote_descriptors_before,
        zygote_descriptors_after: descriptors(&zygote),
        findings: findings
            .iter()
            .map(|found| format!("{}: {:?}: {} | {}", found.name, found.state, found.detail, found.advice))
            .collect(),
        remounted: scenario.remount.then(|| remount(&scenario)),
    };
    println!("{}", serde_json::to_string(&answer).expect("an answer"));
}

/// Starts the steps with this process's standard error as their output, says that they run, and waits for them.
///
/// So whoever reads that output sees its end when this process, the launcher and every process of every step are gone.
fn hold(launcher: &Launcher, scenario: &Scenario) {
    let null = || OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    let output = || std::io::stderr().as_fd().try_clone_to_owned().expect("a copy");
    let running: Vec<Running> = scenario
        .steps
        .iter()
        .enumerate()
        .map(|(number, step)| {
            let io = StepIo::Streams { stdin: null(), stdout: output(), stderr: output() };
            launcher.spawn(&spec(scenario, step, number), io).expect("a step")
        })
        .collect();
    println!("running");
    for step in &running {
        match step.wait() {
            Ok(exit) => println!("{}", show(exit)),
            Err(error) => println!("{error}"),
        }
    }
}
