//! `cargo xtask test`: everything that CI checks, in the order in which a mistake is found soonest.

mod shared;
mod skips;
mod users;

use crate::failure::{At, Failure, Result};
use crate::place::{Place, cargo};
use crate::standins::StandIns;
use crate::table::{table, time};
use crate::{binary, book, packages, run, servers, standins, tidy};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};
use users::Users;

/// What was checked, how long it took, and what it found.
struct Step {
    name: &'static str,
    took: Duration,
    failure: Option<Failure>,
}

/// The names of all steps, in their order.
const STEPS: [&str; 7] = ["format", "tidy", "clippy", "documentation", "book", TESTS, "examples"];
/// The step that needs real things.
const TESTS: &str = "tests";

/// What the tests need and what takes long to make, while it is made.
struct Making<'scope> {
    /// The servers, with the stand-ins.
    servers: ScopedJoinHandle<'scope, Result<PathBuf>>,
    /// The program.
    program: ScopedJoinHandle<'scope, Result<PathBuf>>,
}

/// The same, made.
struct Made {
    servers: PathBuf,
    program: PathBuf,
}

impl Making<'_> {
    /// Waits for both.
    fn wait(self) -> Result<Made> {
        let finish = |handle: ScopedJoinHandle<'_, _>| handle.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Made { program: finish(self.program)?, servers: finish(self.servers)? })
    }
}

/// Makes what tests need and no compiler makes. It serves nothing: a server would end with the thread that started it.
fn make_real_things(place: &Place) -> Result<PathBuf> {
    drop(standins::serve(place)?);
    servers::install(place)
}

/// Runs all steps, or the named ones, the later ones even if an earlier one fails, and shows a table.
pub(crate) fn command(place: &Place, chosen: &[String]) -> Result {
    if let Some(unknown) = chosen.iter().find(|name| !STEPS.contains(&name.as_str())) {
        return Err(Failure::new(format!("no step is named `{unknown}`; there are {}", STEPS.join(", "))));
    }
    // All at once: who has to ask somebody else for packages asks once.
    packages::ensure(&[packages::STANDINS, packages::PEERS, servers::NEEDS].concat())?;
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|wanted| wanted == name);
    // Made while the checks run: one waits for package registries most of the time, and the end of a build has work for
    // one processor. The program is built in a directory of its own, so the two compilers do not wait for each other.
    thread::scope(|scope| {
        let making = is_chosen(TESTS).then(|| Making {
            servers: scope.spawn(|| make_real_things(place)),
            program: scope.spawn(|| binary::build(place, binary::Profile::Tested)),
        });
        steps(place, &is_chosen, making)
    })
}

/// Runs the steps that are chosen.
fn steps(place: &Place, is_chosen: &dyn Fn(&str) -> bool, mut making: Option<Making<'_>>) -> Result {
    let mut steps = Vec::new();
    let mut step = |name: &'static str, work: &mut dyn FnMut() -> Result| {
        if !is_chosen(name) {
            return;
        }
        println!("== {name}");
        let start = Instant::now();
        let failure = work().err();
        if let Some(failure) = &failure {
            println!("{name} failed: {failure}");
        }
        steps.push(Step { name, took: start.elapsed(), failure });
    };
    step("format", &mut || run::show(cargo_in(place).args(["fmt", "--all", "--check"])));
    step("tidy", &mut || tidy::command(place));
    step("clippy", &mut || {
        let args = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
        run::show(cargo_in(place).args(args))
    });
    step("documentation", &mut || {
        let args = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
        run::show(cargo_in(place).args(args).env("RUSTDOCFLAGS", "-D warnings"))
    });
    step("book", &mut || book::build(place).map(drop));
    step(TESTS, &mut || {
        let making = making.take().ok_or_else(|| Failure::new("the tests run once"))?;
        tests(place, &making.wait()?)
    });
    step("examples", &mut || run::show(cargo_in(place).args(["test", "--workspace", "--doc", "--locked", "--quiet"])));
    report(&steps)
}

fn report(steps: &[Step]) -> Result {
    let row = |step: &Step| {
        let outcome = if step.failure.is_none() { "passed" } else { "FAILED" };
        vec![step.name.to_owned(), outcome.to_owned(), time(step.took)]
    };
    println!("\n{}", table(&["step", "outcome", "time"], &steps.iter().map(row).collect::<Vec<_>>()));
    let failed: Vec<&str> = steps.iter().filter(|step| step.failure.is_some()).map(|step| step.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("failed: {}", failed.join(", ")))) }
}

fn cargo_in(place: &Place) -> Command {
    let mut command = cargo();
    command.current_dir(&place.root);
    command
}

/// Runs the tests with what was made for them, and looks at what was skipped.
fn tests(place: &Place, made: &Made) -> Result {
    let served = standins::serve(place)?;
    let users = Users::create()?;
    // Other users cannot look into the home of the one who runs this, so what they need lies where they can.
    let open = tempfile::Builder::new().prefix("stave-test-").tempdir().at("create", Path::new("a directory"))?;
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).at("open", open.path())?;
    let binary = open.path().join("stave");
    fs::copy(&made.program, &binary).at("copy", &made.program)?;
    // A short name: sockets lie below, and Podman's files, whose paths have a limit of 50 bytes.
    let temporary = tempfile::Builder::new().prefix("st-").tempdir().at("create", Path::new("a directory"))?;
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o1777)).at("open", temporary.path())?;
    // An ext4 without a journal steps over every inode that was deleted nearby in the last minutes, and tests delete a great
    // deal: each test gets a place of its own on the disk. Other file systems have no such attribute, and need none.
    drop(run::quiet(Command::new("chattr").arg("+T").arg(temporary.path())));
    let (servers, temporary) = (&made.servers, temporary.path());
    let found = Equipment { served: &served, servers, binary: &binary, users: &users, temporary };
    let log = match run::find("cargo-nextest") {
        Some(_) => nextest(place, &found),
        None => cargo_test(place, &found),
    }?;
    skips::judge(&log)
}

/// What the tests find in their environment.
struct Equipment<'a> {
    served: &'a StandIns,
    servers: &'a Path,
    binary: &'a Path,
    users: &'a Users,
    /// Where they make what they need for a while.
    temporary: &'a Path,
}

impl Equipment<'_> {
    fn give(&self, command: &mut Command) {
        command.env("STAVE_BIN", self.binary);
        command.env("TMPDIR", self.temporary);
        command.env(stave_testkit::needs::STANDINS, &self.served.dir);
        command.env(stave_testkit::needs::SERVERS, self.servers);
        command.env(stave_testkit::needs::BUSYBOX, self.served.dir.join("busybox"));
        command.env(stave_testkit::needs::USERS, self.users.variable());
    }
}

/// Returns the file with the output of the tests, and fails after it was judged if a test failed.
fn nextest(place: &Place, found: &Equipment<'_>) -> Result<PathBuf> {
    let mut command = cargo_in(place);
    command.args(["nextest", "run", "--workspace", "--locked", "--profile", "xtask", "--cargo-quiet"]);
    // A test end to end waits for other processes, for disks and for time about half of the time that it takes.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    command.arg("--test-threads").arg((2 * processors).to_string());
    found.give(&mut command);
    run::show(&mut command)?;
    let mut list = cargo_in(place);
    list.args(["nextest", "list", "--workspace", "--locked", "--cargo-quiet", "--run-ignored", "only"]);
    let ignored = run::capture(&mut list)?;
    if !ignored.trim().is_empty() {
        return Err(Failure::new(format!("tests that nobody runs:\n{ignored}")));
    }
    // nextest keeps its reports below the root, wherever cargo builds.
    Ok(place.root.join("target/nextest/xtask/junit.xml"))
}

fn cargo_test(place: &Place, found: &Equipment<'_>) -> Result<PathBuf> {
    println!("cargo-nextest is not installed; `cargo test` runs the same tests");
    let log = place.dir("xtask")?.join("tests.log");
    let mut command = Command::new("sh");
    // `tee` shows the tests as they run; the exit code that counts is cargo's.
    let script = r#"{ "$@" 2>&1; echo $? > "$STATUS"; } | tee "$LOG"; exit "$(cat "$STATUS")""#;
    command.args(["-c", script, "sh"]).arg(cargo().get_program());
    command.args(["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast", "--", "--show-output"]);
    command.env("LOG", &log).env("STATUS", log.with_extension("status")).current_dir(&place.root);
    found.give(&mut command);
    run::show(&mut command)?;
    Ok(log)
}
