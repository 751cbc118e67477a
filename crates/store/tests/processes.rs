//! Many processes on one store, processes that are killed, and disks that are full.
//!
//! This program runs its tests, or, called with `helper ROLE ROOT ...`, plays a role in one of them.
#![allow(clippy::print_stdout, reason = "it is its own test harness and says what it did")]

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use common::{Bench, assert_clean, check, image, layer, list, options, record};
use stave_oci::{BlobDigest, DiffId};
use stave_store::{
    BlobExpectation, BuildState, CacheLookup, CheckOptions, HistoryLimit, Lease, NewContainer, PruneOptions, Store,
    StoreError,
};

type Test = (&'static str, fn());

const TESTS: [Test; 9] = [
    ("many_processes_share_one_store", many_processes_share_one_store),
    ("every_point_of_death_is_survived", every_point_of_death_is_survived),
    ("processes_killed_at_random_leave_nothing", processes_killed_at_random_leave_nothing),
    ("a_dead_process_lets_go_of_its_pins", a_dead_process_lets_go_of_its_pins),
    ("a_stopped_process_keeps_its_pins_and_blocks_nobody", a_stopped_process_keeps_its_pins_and_blocks_nobody),
    ("one_new_store_is_made_by_many_at_once", one_new_store_is_made_by_many_at_once),
    ("a_full_disk_is_an_error_with_a_path_and_leaves_nothing", a_full_disk_is_an_error_with_a_path_and_leaves_nothing),
    ("no_free_inodes_are_an_error_with_a_path", no_free_inodes_are_an_error_with_a_path),
    ("a_mount_below_the_trash_is_not_crossed", a_mount_below_the_trash_is_not_crossed),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, role, root, rest @ ..] = arguments.as_slice()
        && first == "helper"
    {
        play(role, Path::new(root), rest);
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--ignored") {
        // nextest asks what is left out: nothing. Else it would take every test for one of these and run none.
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed.extend((!passed).then_some(name));
    }
    println!("{} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(role: &str, root: &Path, rest: &[String]) {
    let number = rest.first().map_or(0, |text| text.parse().expect("it is a number"));
    match role {
        "open" => assert!(Store::open(root, options()).expect("it opens").images().expect("it answers").is_empty()),
        "work" => work(root, number),
        "loop" => work_for_ever(root, number),
        "fail" => fail_at(root, number == 1, &rest[1]),
        "hold" => hold(root),
        "fill" => fill(root),
        "inodes" => use_up_inodes(root),
        "mounted" => empty_a_trash_with_a_mount(root),
        other => panic!("no role `{other}`"),
    }
}

fn helper(role: &str, root: &Path, rest: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("helper").arg(role).arg(root).args(rest).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What is kept of the builds below.
const HISTORY: HistoryLimit = HistoryLimit { count_max: 5, bytes_max: 600_000 };

/// One round of everything that a build does to a store.
fn round(store: &Store, number: u64, step: u64) -> Result<(), Box<dyn std::error::Error>> {
    let lease = store.lease()?;
    let build = lease.begin_build(&format!("build {number}"))?;
    let log = store.root().join(store.build_logs_rel_path(&build)).join("1.log");
    std::fs::write(log, vec![b'x'; 100_000 * usize::try_from(step % 4)?])?;
    let key = u8::try_from((number * 31 + step) % 40)?;
    let base = shared_base(&lease, step % 3)?;
    let top = match lease.lookup(&[key; 32])? {
        CacheLookup::Hit(hit) => *hit.snapshot.last().ok_or("a snapshot has layers")?,
        CacheLookup::Miss | CacheLookup::Evicted { .. } => layer(&lease, &format!("{number}.{step}")),
    };
    lease.record(&record(key, &[base, top]))?;
    if lease.candidates(&[7; 32], 3)?.is_empty() {
        return Err("a record that is pinned is a candidate".into());
    }
    let tag = format!("app{}", step % 4);
    let id = image(&lease, &format!("{}", step % 5), &[&tag]);
    store.image_config(&id)?;
    let new = NewContainer { name: None, image: id, image_name: &tag, snapshot: &[base, top], config: "{}" };
    let container = lease.create_container(&new)?;
    for layer in [base, top] {
        std::fs::metadata(store.root().join(store.layer_rel_path(layer)).join("file"))?;
    }
    store.remove_container(&container.id, false)?;
    if step % 5 == 4 {
        let found = check(store);
        if !found.is_clean() {
            return Err(format!("a check beside others found {:?}", found.problems).into());
        }
    }
    match step % 4 {
        0 => drop(store.prune(&PruneOptions::default())?),
        1 => drop(store.prune(&PruneOptions { all: true, ..PruneOptions::default() })?),
        2 => store.settle()?,
        _ => drop(store.usage()?),
    }
    lease.finish_build(&build, BuildState::Done, None)?;
    store.trim_builds(HISTORY)?;
    Ok(())
}

/// A layer that all processes unpack from the same tar.
fn shared_base(lease: &Lease, number: u64) -> Result<stave_store::LayerId, StoreError> {
    let diff_id = DiffId::of(&number.to_le_bytes());
    if let Some(layer) = lease.layer_by_diff_id(&diff_id)? {
        return Ok(layer);
    }
    let work = lease.work_dir()?;
    std::fs::write(work.path().join("diff/file"), "base").expect("it is written");
    lease.publish_layer(work, Some(diff_id))
}

fn work(root: &Path, number: u64) {
    let store = Store::open(root, options()).expect("the store opens");
    for step in 0..25 {
        round(&store, number, step).expect("everything works beside others");
    }
}

fn work_for_ever(root: &Path, number: u64) {
    let mut output = std::io::stdout();
    for step in 0.. {
        let store = Store::open(root, options()).expect("the store opens");
        round(&store, number, step).expect("everything works beside others");
        writeln!(output, "{step}").and_then(|()| output.flush()).expect("the parent reads");
    }
}

fn wait_all(children: Vec<Child>) {
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", output.status);
    }
}

fn many_processes_share_one_store() {
    let bench = Bench::new();
    let spawn = |number: u64| helper("work", &bench.root(), &[&number.to_string()]).spawn().expect("it starts");
    wait_all((0..8).map(spawn).collect());
    let store = bench.open();
    assert_clean(&store);
    let builds = store.builds(1000).expect("the store answers");
    assert!(builds.iter().all(|build| build.state == BuildState::Done));
    // However they ended beside each other, the limits of the history hold.
    assert!((1..=5).contains(&builds.len()), "{builds:?}");
    let bytes = store.usage().expect("it is measured").builds.bytes;
    assert!(bytes <= HISTORY.bytes_max + 8192, "{bytes} bytes");
    assert_eq!(list(&bench.root().join("tmp")), [""; 0]);
    assert_eq!(list(&bench.root().join("containers")), [""; 0]);
}

fn one_new_store_is_made_by_many_at_once() {
    let bench = Bench::new();
    wait_all((0..8).map(|_| helper("open", &bench.root(), &[]).spawn().expect("it starts")).collect());
    assert_clean(&bench.open());
}

/// A store in which there is something to remove, and then one round of everything.
fn scenario(store: &Store) {
    for step in 0..4 {
        round(store, 0, step).expect("everything works");
    }
    let lease = store.lease().expect("a lease is given");
    image(&lease, "last", &["last"]);
    drop(lease);
    store.remove_image("last", false).expect("it is removed");
}

fn every_point_of_death_is_survived() {
    let bench = Bench::new();
    let reached = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&reached);
    let mut noting = options();
    noting.failpoint = Some(Arc::new(move |name| {
        noted.lock().expect("nobody panicked").insert(name);
    }));
    scenario(&Store::open(&bench.root(), noting).expect("the store opens"));
    let points = reached.lock().expect("nobody panicked").clone();
    assert!(points.len() >= 20, "the scenario reaches the store's failpoints: {points:?}");
    for point in points {
        let bench = Bench::new();
        let restarted = point.starts_with("restart.");
        round(&bench.open(), 1, 0).expect("everything works");
        let output = helper("fail", &bench.root(), &[if restarted { "1" } else { "0" }, point])
            .stderr(Stdio::null())
            .output()
            .expect("it runs");
        assert_eq!(output.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{point}");
        let store = bench.try_open(boot(restarted)).expect("the store opens");
        assert_eq!(check(&store).problems, [], "after a death at {point}");
        assert_eq!(list(&bench.root().join("tmp")), [""; 0], "after a death at {point}");
        round(&store, 2, 0).expect("the store works");
        assert_eq!(check(&store).problems, [], "after a death at {point}");
        drop(store);
        assert_eq!(list(&bench.root().join("trash")), [""; 0], "after a death at {point}");
    }
}

fn boot(restarted: bool) -> &'static str {
    if restarted { "boot-2" } else { "boot-1" }
}

fn fail_at(root: &Path, restarted: bool, point: &str) {
    let point = point.to_owned();
    let mut options = options();
    boot(restarted).clone_into(&mut options.boot_id);
    options.failpoint = Some(Arc::new(move |name| {
        if name == point {
            std::process::abort();
        }
    }));
    scenario(&Store::open(root, options).expect("the store opens"));
}

fn processes_killed_at_random_leave_nothing() {
    let bench = Bench::new();
    drop(bench.open());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for victim in 0..50 {
        let survivor = (victim % 10 == 0).then(|| helper("work", &bench.root(), &["99"]).spawn().expect("it starts"));
        let mut child = helper("loop", &bench.root(), &[&victim.to_string()]).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for _ in 0..random >> 62 {
            lines.next().expect("it works until it is killed").expect("it is text");
        }
        // From here to the kill the victim goes on: a few thousand turns end it in the middle of something.
        for turn in 0..(random >> 40) % 300_000 {
            std::hint::black_box(turn);
        }
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        wait_all(survivor.into_iter().collect());
        let store = bench.open();
        assert_eq!(check(&store).problems, [], "after victim {victim}");
        assert_eq!(list(&bench.root().join("tmp")), [""; 0], "after victim {victim}");
    }
    assert_eq!(list(&bench.root().join("trash")), [""; 0]);
}

/// Pins a cached layer and waits for the end of its input.
fn hold(root: &Path) {
    let store = Store::open(root, options()).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    lease.begin_build("held").expect("it begins");
    let hit = lease.lookup(&[1; 32]).expect("the store answers");
    assert!(matches!(hit, CacheLookup::Hit(_)));
    let mut output = std::io::stdout();
    writeln!(output, "pinned").and_then(|()| output.flush()).expect("the parent reads");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the parent closes it");
}

/// Starts a process that holds a pin on the only cached layer of a new store.
fn holder(bench: &Bench) -> Child {
    let store = bench.open();
    let lease = store.lease().expect("a lease is given");
    let id = layer(&lease, "x");
    lease.record(&record(1, &[id])).expect("it is recorded");
    drop(lease);
    let mut child = helper("hold", &bench.root(), &[]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("it is a pipe")).read_line(&mut line).expect("it says so");
    assert_eq!(line, "pinned\n");
    child
}

fn a_dead_process_lets_go_of_its_pins() {
    let bench = Bench::new();
    let mut child = holder(&bench);
    let store = bench.open();
    assert_eq!(store.prune(&PruneOptions::default()).expect("it is pruned").layers, 0);
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    let store = bench.open();
    assert_eq!(store.builds(1).expect("the store answers")[0].state, BuildState::Interrupted);
    assert_eq!(store.prune(&PruneOptions::default()).expect("it is pruned").layers, 1);
    assert_clean(&store);
}

fn a_stopped_process_keeps_its_pins_and_blocks_nobody() {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    let bench = Bench::new();
    let mut child = holder(&bench);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).expect("it is stopped");
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).expect("it stops").expect("it stopped");
    assert!(status.stopped());
    let store = bench.open();
    round(&store, 1, 0).expect("everything works beside it");
    assert!(matches!(
        store.lease().expect("a lease is given").lookup(&[1; 32]).expect("the store answers"),
        CacheLookup::Hit(_)
    ));
    kill_process(pid, Signal::CONT).expect("it goes on");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    assert_clean(&store);
}

/// Runs a role in a mount namespace of its own with a file system mounted at `target`. Returns false, and says why, where
/// that is not allowed.
fn in_mount_namespace(options: &str, target: &Path, role: &str, root: &Path) -> bool {
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" || exit 77; shift 2; exec \"$@\"";
    let command = helper(role, root, &[]);
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", options])
        .arg(target)
        .arg(command.get_program())
        .args(command.get_args().collect::<Vec<&OsStr>>())
        .output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => {
            println!("skipped: cannot mount a file system: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            println!("skipped: cannot run `unshare`: {error}");
            false
        }
    }
}

fn a_full_disk_is_an_error_with_a_path_and_leaves_nothing() {
    let bench = Bench::new();
    let mount = tempfile::tempdir().expect("there is a temporary directory");
    if in_mount_namespace("size=8m", mount.path(), "fill", &mount.path().join("store")) {
        assert_eq!(list(mount.path()), [""; 0], "the mount was another namespace's");
    }
    drop(bench);
}

fn fill(root: &Path) {
    let store = Store::open(root, options()).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    let kept = image(&lease, "kept", &["kept"]);
    let before = store.usage().expect("it is measured").total_bytes();
    let chunk = vec![7; 65536];
    let mut writer = lease.blob_writer(BlobExpectation::none()).expect("a writer is made");
    let error =
        std::iter::repeat_with(|| writer.write_all(&chunk)).take(200).find_map(Result::err).expect("the disk is full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let error = lease.put_blob(&chunk).expect_err("the disk is full").to_string();
    assert!(error.contains(&root.display().to_string()) && error.contains("no space left"), "{error}");
    let work = lease.work_dir();
    drop((writer, work));
    lease.put_blob(&chunk).expect("there is space again");
    drop(lease);
    store.prune(&PruneOptions::default()).expect("it is pruned");
    let after = store.usage().expect("it is measured").total_bytes();
    assert!(after <= before + (64 << 10), "{before} bytes before, {after} bytes after");
    store.open_blob(&BlobDigest::from(kept)).expect("it is still there");
    assert_clean(&store);

    let lease = store.lease().expect("a lease is given");
    let cached = layer(&lease, &"x".repeat(1 << 20));
    lease.record(&record(1, &[cached])).expect("it is recorded");
    drop(lease);
    // The database cannot grow either: whatever fails, fails with the path and is not half done.
    let filler = std::fs::File::create(root.with_file_name("filler")).expect("it is made");
    while (&filler).write_all(&[0; 4096]).is_ok() {}
    let mut titles =
        (0..200).map(|number| store.lease().and_then(|lease| lease.begin_build(&format!("{number:2000}"))));
    let error = titles.find_map(Result::err).expect("the disk is full");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains(&root.display().to_string()), "{error}");
    drop(filler);
    // What gives space back works all the same.
    let pruned = store.prune(&PruneOptions::default()).expect("the reserve is enough");
    assert_eq!(pruned.layers, 1);
    assert!(pruned.bytes >= 1 << 20, "{}", pruned.bytes);
    store.remove_image("kept", false).expect("there is space again");
    std::fs::remove_file(root.with_file_name("filler")).expect("it is deleted");
    assert_clean(&store);
    drop(store);
    assert_clean(&Store::open(root, options()).expect("the store opens"));
}

fn no_free_inodes_are_an_error_with_a_path() {
    let mount = tempfile::tempdir().expect("there is a temporary directory");
    if in_mount_namespace("nr_inodes=60", mount.path(), "inodes", &mount.path().join("store")) {
        assert_eq!(list(mount.path()), [""; 0], "the mount was another namespace's");
    }
}

fn use_up_inodes(root: &Path) {
    let store = Store::open(root, options()).expect("the store opens");
    let lease = store.lease().expect("a lease is given");
    let mut works = Vec::new();
    let error = loop {
        match lease.work_dir() {
            Ok(work) => works.push(work),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains(&root.display().to_string()), "{error}");
    works.clear();
    drop(lease);
    assert_clean(&store);
    let lease = store.lease().expect("a lease is given");
    layer(&lease, "there is space again");
}

fn a_mount_below_the_trash_is_not_crossed() {
    let bench = Bench::new();
    drop(bench.open());
    let below = bench.root().join("trash/tree/mounted");
    std::fs::create_dir_all(&below).expect("it is made");
    // The role is played where something is mounted there.
    if in_mount_namespace("size=1m", &below, "mounted", &bench.root()) {
        assert!(!below.is_dir() || list(&below).is_empty());
    }
    drop(bench.open());
    assert_eq!(list(&bench.root().join("trash")), [""; 0], "without the mount it is deleted");
}

fn empty_a_trash_with_a_mount(root: &Path) {
    let precious = root.join("trash/tree/mounted/precious");
    std::fs::write(&precious, "x").expect("it is written");
    let store = Store::open(root, options()).expect("the store opens");
    let found = store.check(&CheckOptions::default()).expect("the check runs");
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].to_string().contains("is a mount point"), "{}", found.problems[0]);
    assert_eq!(std::fs::read(&precious).expect("it is still there"), b"x");
}
