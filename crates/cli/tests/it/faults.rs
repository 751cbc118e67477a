//! What goes wrong around a build: signals at any time, full disks, damaged blobs, stores of other versions.

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, LoopbackRegistry, Output, Rootfs, leaks, needs};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Tells the receiver whenever somebody asks.
fn doorbell() -> (Server, Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |_| {
        // A test that has ended does not listen any more.
        sender.send(()).ok();
        Response::status(200)
    });
    (server, receiver)
}

/// Starts a build whose second step says that it runs and then does not end by itself.
fn endless_build(bench: &Bench) -> Child {
    let (server, rang) = doorbell();
    let token = bench.token();
    bench.file(
        "Dockerfile",
        format!(
            "FROM busybox\nRUN echo {token} > /first\nRUN wget -q -O - {}/ready; sleep 3000; echo {token}\n",
            server.url()
        ),
    );
    let child = bench.spawn(["build", "-t", "endless", "."]);
    rang.recv_timeout(Duration::from_mins(1)).expect("the step runs");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the build runs");
}

/// Nothing of the bench is left: no process, no mount, no unfinished file.
#[track_caller]
fn assert_tidy(bench: &Bench) {
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    assert_eq!(leaks::mounts(&bench.path("")), Vec::<String>::new());
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
    bench.run(["store", "check"]).success();
}

#[test]
fn an_interrupt_ends_a_build_in_under_a_second_and_leaves_nothing() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let second = Duration::from_secs(1);
    for (name, number, code) in [("INT", Signal::INT, 130), ("TERM", Signal::TERM, 143)] {
        // What takes long because the machine is busy does not do so five times.
        let mut took = Vec::new();
        while took.len() < 5 && took.last().is_none_or(|took| *took >= second) {
            let child = endless_build(&bench);
            let start = Instant::now();
            signal(&child, number);
            let output = bench.wait(child);
            took.push(start.elapsed());
            output.exit(code);
            assert_tidy(&bench);
        }
        assert!(took.last().is_some_and(|took| *took < second), "SIG{name} took {took:?}");
    }
}

#[test]
fn nothing_is_left_of_a_killed_build_after_the_next_run() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let child = endless_build(&bench);
    signal(&child, Signal::KILL);
    bench.wait(child).exit(137);
    bench.file("Dockerfile", "FROM busybox\nRUN true\n");
    bench.run(["build", "-t", "after", "."]).success();
    assert_tidy(&bench);
}

#[test]
fn a_build_that_is_killed_at_any_line_of_its_progress_can_be_repeated() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "a");
    bench.file(
        "Dockerfile",
        "FROM busybox AS one\nRUN echo 1 > /1\nCOPY a /a\nRUN echo 2 > /2\nFROM busybox\nCOPY --from=one /1 /2 /a /\n\
         RUN cat /1 /2 /a\n",
    );
    let mut bench = bench;
    bench.set("SOURCE_DATE_EPOCH", "1700000000");
    let build = ["build", "--progress=plain", "--no-cache", "--iidfile", "id", "-t", "made", "."];
    bench.run(build).success();
    let expected = fs::read_to_string(bench.work().join("id")).expect("an image id");
    for line in 1..16 {
        let mut child = bench.spawn(build);
        let stderr = child.stderr.take().expect("kept");
        // The line is what decides when, not a clock; a build with fewer lines simply ends.
        BufReader::new(stderr).lines().take(line).for_each(drop);
        child.kill().expect("killed, or ended already");
        drop(bench.wait(child));
        bench.run(["store", "check"]).success();
    }
    bench.run(["build", "--iidfile", "id", "-t", "made", "."]).success();
    assert_eq!(fs::read_to_string(bench.work().join("id")).expect("an image id"), expected);
    assert_tidy(&bench);
}

/// A small file system in memory, unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, size: &str) -> Option<Self> {
        needs::root()?;
        fs::create_dir_all(dir).expect("a writable place");
        let options = format!("size={size},mode=755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(dir.to_owned()));
        }
        needs::skipped("a file system in memory cannot be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "something is still in use");
    }
}

/// A store on a small disk, the rest of the bench elsewhere.
struct SmallStore {
    bench: Bench,
    registry: LoopbackRegistry,
    disk: SmallDisk,
    /// Dropped last: the disk is mounted in it.
    _place: tempfile::TempDir,
}

impl SmallStore {
    fn new(size: &str) -> Option<Self> {
        let (mut bench, registry) = with_busybox()?;
        let place = tempfile::tempdir().expect("a directory");
        let disk = SmallDisk::mount(&place.path().join("disk"), size)?;
        bench.set("STAVE_ROOT", disk.0.join("store"));
        Some(Self { bench, registry, disk, _place: place })
    }

    fn root(&self) -> PathBuf {
        self.disk.0.join("store")
    }

    /// The store is named as what is full, and nothing is left of the attempt.
    #[track_caller]
    fn assert_full(&self, output: &Output, code: i32) {
        output.exit(code).complains(&format!("hint: The file system of the store `{}` has ", self.root().display()));
        assert!(output.stderr.to_lowercase().contains("no space left on"), "{output}");
        self.assert_tidy();
    }

    #[track_caller]
    fn assert_tidy(&self) {
        assert_eq!(leaks::work_files(&self.root()), Vec::<String>::new());
        self.bench.run(["store", "check"]).success();
    }

    /// Writes a file beside the store, so that only so many bytes are free.
    fn leave_free(&self, bytes: u64) -> PathBuf {
        let path = self.disk.0.join("fill");
        let space = rustix::fs::statvfs(&self.disk.0).expect("a mount");
        let fill = (space.f_bavail * space.f_frsize).saturating_sub(bytes);
        fs::write(&path, vec![1; usize::try_from(fill).expect("a small disk")]).expect("there is space for it");
        path
    }
}

/// Bytes that no compression makes fewer.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(count / 8).flatten().collect()
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing_behind_whatever_filled_it() {
    let Some(small) = SmallStore::new("16m") else { return };
    let bench = &small.bench;
    let mut image = Image::new();
    image.layer(Rootfs::new().file("big", 0o644, noise(24 << 20)));
    small.registry.put("library/big", "latest", &image);
    bench.file("big", vec![7; 24 << 20]);

    bench.file("Dockerfile", "FROM big\nCOPY Dockerfile /\n");
    small.assert_full(&bench.run(["build", "-t", "made", "."]), 3);
    small.assert_full(&bench.run(["pull", "big"]), 3);
    let layout = bench.path("layout");
    image.write_layout(&layout, "big:latest").expect("a writable bench");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", &layout).expect("a layout");
    small.assert_full(&bench.run_with_input(["load"], archive.into_inner().expect("memory")), 3);
    bench.file("Dockerfile", "FROM busybox\nCOPY big /big\n");
    small.assert_full(&bench.run(["build", "-t", "made", "."]), 3);
    bench.file("Dockerfile", "FROM busybox\nADD big.tar /\n");
    bench.file("big.tar", Rootfs::new().file("big", 0o644, vec![7; 24 << 20]).tar());
    small.assert_full(&bench.run(["build", "-t", "made", "."]), 3);
    bench.file("Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=24\n");
    small.assert_full(&bench.run(["build", "-t", "made", "."]), 1);
    bench.run(["create", "--name", "box", "busybox"]).success();
    // What was copied until then is in the container, as anywhere; removing that works on a full disk.
    let copied = bench.run(["cp", "big", "box:/big"]);
    bench.run(["rm", "box"]).success();
    small.assert_full(&copied, 3);

    bench.file("Dockerfile", "FROM busybox\nRUN echo small > /small\n");
    bench.run(["build", "-t", "made", "."]).success();
}

#[test]
fn an_export_that_fills_a_disk_says_which() {
    let Some(small) = SmallStore::new("24m") else { return };
    let bench = &small.bench;
    bench.file("noise", noise(12 << 20)).file("Dockerfile", "FROM scratch\nCOPY noise /\n");
    bench.run(["build", "-t", "made", "."]).success();
    // The compressed layer is made in the store first.
    small.assert_full(&bench.run(["build", "--output", "type=oci,dest=made.tar", "."]), 3);
    assert!(!bench.work().join("made.tar").exists());

    let mut other = Bench::new();
    other.set("STAVE_ROOT", other.path("store"));
    other.file("noise", noise(20 << 20)).file("Dockerfile", "FROM scratch\nCOPY noise /\n");
    for kind in ["oci", "docker", "tar"] {
        let dest = small.disk.0.join("made.tar");
        let output = other.run(["build", "--output", &format!("type={kind},dest={}", dest.display()), "."]);
        output.exit(3).complains(&format!("cannot write `{}`", dest.display()));
        assert!(!output.stderr.contains("file system of the store"), "{output}");
        let left: Vec<_> = fs::read_dir(&small.disk.0).expect("the disk").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["store"], "nothing half-written is left");
    }
    small.assert_tidy();
}

/// Whatever runs out first (a layer, the log, the database, its journal): an error that says so, or success.
#[test]
fn a_disk_with_any_amount_of_space_left_gives_an_error_or_an_image_and_stays_in_order() {
    let Some(small) = SmallStore::new("48m") else { return };
    let bench = &small.bench;
    bench.file("a", vec![7; 300 << 10]).file("Dockerfile", "FROM busybox\nRUN true\n");
    bench.run(["build", "-t", "base", "."]).success();
    bench.file(
        "Dockerfile",
        "FROM busybox\nCOPY a /a\nWORKDIR /w\nRUN dd if=/dev/zero of=/b bs=1k count=300\nRUN true\n",
    );
    let (mut failed, mut built) = (0, 0);
    for kib in [0, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048, 4096] {
        let fill = small.leave_free(kib << 10);
        let output = bench.run(["build", "--no-cache", "-t", "made", "."]);
        match output.code {
            0 => built += 1,
            1 | 3 => {
                failed += 1;
                output.complains("hint: The file system of the store `");
                assert!(output.stderr.to_lowercase().contains("no space left on"), "{kib} KiB: {output}");
            }
            _ => panic!("{kib} KiB: {output}"),
        }
        fs::remove_file(fill).expect("written above");
        small.assert_tidy();
    }
    assert!(failed >= 5 && built >= 2, "{failed} failed, {built} built");
}

#[test]
fn a_store_is_not_made_half_on_a_full_disk() {
    let Some(small) = SmallStore::new("8m") else { return };
    let bench = &small.bench;
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    for kib in [0, 4, 16, 64, 128, 256] {
        let fill = small.leave_free(kib << 10);
        let output = bench.run(["build", "-t", "made", "."]);
        assert!(output.code == 0 || output.code == 3, "{kib} KiB: {output}");
        if output.code == 3 {
            output.complains("hint: The file system of the store `");
        }
        fs::remove_file(fill).expect("written above");
        bench.run(["build", "-t", "made", "."]).success();
        small.assert_tidy();
        fs::remove_dir_all(small.root()).expect("root's store");
    }
}

#[test]
fn a_blob_with_a_wrong_digest_is_refused_and_not_kept() {
    let Some((bench, registry)) = with_busybox() else { return };
    let mut image = Image::new();
    image.layer(stave_testkit::Rootfs::new().file("a", 0o644, "right"));
    let layer = image.layers()[0].descriptor.clone();
    registry.put("library/bad", "latest", &image);
    let mut bytes = image.layers()[0].source.read().expect("in memory");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    registry.replace_blob(&layer.digest, bytes);
    bench.file("Dockerfile", "FROM bad\nCOPY a /b\n").file("a", "1");
    bench.run(["build", "-t", "made", "."]).exit(3).complains("digest");
    bench.run(["store", "check"]).success();
    registry.put("library/bad", "latest", &image);
    bench.run(["build", "-t", "made", "."]).success();
}

#[test]
fn a_registry_that_cannot_be_reached_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let bench = Bench::new();
    fs::write(
        bench.path("registries.conf"),
        format!("[[registry]]\nprefix = \"docker.io\"\nlocation = \"{host}\"\ninsecure = true\n"),
    )
    .expect("a writable bench");
    bench.file("Dockerfile", "FROM docker.io/library/busybox\nRUN true\n");
    bench.run(["build", "."]).exit(3).complains(&host);
    assert_tidy(&bench);
}

#[test]
fn a_store_of_another_version_is_refused() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    bench.run(["build", "-t", "made", "."]).success();
    fs::write(bench.store().join("version"), "stave store 999\n").expect("the store's version");
    bench.run(["images"]).exit(3).complains("999");
}

#[test]
fn what_the_context_lacks_is_an_error_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let missing = bench.run(["build", "no-such-directory"]);
    assert_ne!(missing.code, 0);
    missing.complains("no-such-directory");
    bench.file("Dockerfile", "FROM scratch\nCOPY absent /\n");
    let absent = bench.run(["build", "."]);
    assert_ne!(absent.code, 0);
    absent.complains("absent");
    bench.file("Dockerfile", "FROM scratch\nCOPY ../../etc/passwd /\n");
    let outside = bench.run(["build", "-t", "outside", "."]);
    assert_ne!(outside.code, 0);
    assert_tidy(&bench);
}
