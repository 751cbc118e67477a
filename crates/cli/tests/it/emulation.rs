//! Steps for another processor: run by QEMU where it is there, and a clear mistake where it is not.

use stave_oci::Platform;
use stave_testkit::bench::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::image::Image;
use stave_testkit::registry::LoopbackRegistry;
use stave_testkit::rootfs::Rootfs;
use stave_testkit::{leaks, needs};

const ARM64: &str = "linux/arm64";

/// A bench for which `busybox` is an index of real images for this machine and for arm64, or nothing after saying why.
fn with_arm64() -> Option<(Bench, LoopbackRegistry)> {
    if Platform::host().architecture != "amd64" {
        needs::skipped("this machine is not amd64, for which arm64 would be foreign");
        return None;
    }
    let (bench, registry) = with_busybox()?;
    let (own, other) = (Image::of_busybox()?, Image::of_arm64_busybox()?);
    registry.put_index("library/busybox", "latest", &[&own, &other]);
    Some((bench, registry))
}

/// Whether steps of this bench's user for arm64 run.
fn runs_arm64(bench: &Bench) -> bool {
    let line = bench.run(["doctor", "--format", "{{.Name}}: {{.Detail}}"]);
    line.out().lines().any(|line| line.starts_with("emulation: ") && line.contains(ARM64))
}

const TWO_STEPS: &str = "FROM busybox\nWORKDIR /w\nARG TARGETARCH\nRUN uname -m > machine && echo $TARGETARCH >> machine\n\
                         USER nobody\nRUN [\"sh\", \"-c\", \"sleep 0; cat machine > /tmp/seen; stat -c %u /tmp/seen >> /tmp/seen\"]\n\
                         CMD [\"cat\", \"/tmp/seen\"]\n";

fn builds_and_runs(bench: &Bench) {
    bench.file("Dockerfile", TWO_STEPS);
    bench.run(["build", "-t", "made", "--platform", "linux/amd64,linux/arm64", "."]).success();
    let seen = |platform: &str| bench.run(["run", "--rm", "--platform", platform, "made"]).success().out();
    assert_eq!(seen(ARM64), "aarch64\narm64\n65534\n");
    assert_eq!(seen("linux/amd64"), "x86_64\namd64\n65534\n");
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
}

/// H003: without root, QEMU's emulators need only be installed: stave has the kernel start them for its steps alone.
#[test]
fn a_user_builds_for_another_processor_with_emulators_that_are_only_installed() {
    let Some(user) = needs::user("ranges") else { return };
    let Some((bench, _registry)) = with_arm64() else { return };
    let bench = bench.as_user(&user);
    if runs_arm64(&bench) {
        builds_and_runs(&bench);
    } else {
        needs::skipped("no emulator for arm64 (Debian's package qemu-user-static, and Linux 6.7 without root)");
    }
}

/// H003: with root, where the machine has a handler.
#[test]
fn root_builds_for_another_processor_where_the_machine_has_an_emulator() {
    let Some(()) = needs::root() else { return };
    let Some((bench, _registry)) = with_arm64() else { return };
    if runs_arm64(&bench) {
        builds_and_runs(&bench);
        return;
    }
    // Then the step says what it lacks, and what to do.
    bench.file("Dockerfile", "FROM busybox AS base\nRUN uname -m > /machine\n");
    let output = bench.run(["build", "--platform", "linux/amd64,linux/arm64", "."]);
    output
        .exit(3)
        .complains("[linux/arm64 base] RUN uname -m > /machine")
        .complains("`/bin/sh`: it is for linux/arm64, and this machine (linux/amd64) has no emulator for that")
        .complains("qemu-user-static")
        .complains("Dockerfile:2:1");
}

/// H003, A097: a handler of the machine whose emulator the kernel does not hold open has it shown to the step, and nothing of
/// that is in the image.
#[test]
fn an_emulator_that_is_not_held_open_is_shown_to_the_step() {
    let (Some(()), Some(unshare)) = (needs::root(), needs::program("unshare")) else { return };
    let Some((bench, _registry)) = with_arm64() else { return };
    let Some(emulator) = needs::program("qemu-aarch64-static") else { return };
    // In a namespace of the test's own, where root is root and registers what the machine does not know.
    let (any_abi, rest) = ("\\x00", "\\xff".repeat(8));
    let magic = format!("\\x7fELF\\x02\\x01\\x01{any_abi}{}\\x02\\x00\\xb7\\x00", "\\x00".repeat(8));
    let mask = format!("{}{any_abi}{rest}\\xfe\\xff\\xff\\xff", "\\xff".repeat(7));
    let line = format!(":test:M::{magic}:{mask}:{}:", emulator.display());
    let script = "set -e; mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 77; \
                  printf %s \"$1\" > /proc/sys/fs/binfmt_misc/register; shift; exec \"$@\"";
    let inside = |args: &[&str]| {
        let mut command = bench.other(&unshare);
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", &line]);
        command.arg(stave_testkit::bench::stave_binary()).args(args);
        bench.finish(command)
    };
    if inside(&["version"]).code == 77 {
        needs::skipped("the kernel has no handlers of a user namespace (Linux 6.7)");
        return;
    }
    bench.file("Dockerfile", "FROM busybox\nRUN uname -m > /machine\n");
    inside(&["build", "--platform", ARM64, "-t", "made", "-o", "type=tar,dest=made.tar", "--load", "."]).success();
    assert_eq!(inside(&["run", "--rm", "--platform", ARM64, "made", "cat", "/machine"]).success().out(), "aarch64\n");
    let mut tar = bench.other(std::path::Path::new("tar"));
    tar.args(["-tf", "made.tar"]);
    let files = bench.finish(tar).success().out();
    assert!(files.lines().any(|line| line.ends_with("machine")) && !files.contains("qemu"), "{files}");
}

/// H003: what nobody can run is said with the step, the platform and the way out, in a build and in a container.
#[test]
fn a_program_that_nothing_runs_is_said_with_its_step_and_platform() {
    let Some((bench, registry)) = with_busybox() else { return };
    let mut image = Image::new();
    // The head of a program for a processor that there is not.
    let mut program = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xfe, 0xed];
    program.resize(4096, 0);
    image.layer(Rootfs::new().dir("bin", 0o755).file("bin/sh", 0o755, program));
    image.config.architecture = "sparc64".to_owned();
    registry.put("library/foreign", "latest", &image);
    bench.file("Dockerfile", "FROM foreign AS base\nRUN make\n");
    let output = bench.run(["build", "--platform", "linux/sparc64", "."]);
    let host = Platform::host();
    let message =
        format!("cannot run `/bin/sh`: it is for linux/sparc64, and this machine ({host}) has no emulator for that");
    output.exit(3).complains(&message).complains("[base] RUN make").complains("hint: Install QEMU's emulators");
    let output = bench.run(["run", "--rm", "--platform", "linux/sparc64", "foreign", "/bin/sh"]);
    output.exit(126).complains(&message);
    // On this machine's own platform it is a broken program and no question of emulators.
    bench.file("Dockerfile", "FROM foreign\nRUN make\n");
    let own = bench.run(["build", "."]);
    own.exit(1).complains("cannot run `/bin/sh`");
    assert!(!own.stderr.contains("emulator"), "{}", own.stderr);
}

/// A probe that anybody can ask.
#[test]
fn doctor_says_which_processors_are_emulated() {
    let bench = Bench::new();
    let line = bench.run(["doctor", "--format", "{{.Name}}|{{.State}}|{{.Detail}}|{{.Advice}}"]);
    let line = line.out().lines().find(|line| line.starts_with("emulation|")).expect("a line").to_owned();
    let runs = line.contains("|ok|programs of linux/");
    let limited = line.contains("|limited|") && line.contains("qemu-user-static");
    assert!(runs != limited, "{line}");
}
