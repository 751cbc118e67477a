//! The last screen of a failed build: what a user sees, each time from a build that really fails that way.

use std::fs;
use std::path::{Path, PathBuf};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, Image, LoopbackRegistry, Output, Rootfs, needs};

/// The screen of a build of this Dockerfile, which fails: from where its progress ends.
fn screen(bench: &Bench, options: &[&str], dockerfile: &str) -> String {
    let output = fails(bench, options, dockerfile);
    let begins = ["other steps: ", "last lines of [", "error"];
    let lines = output.stderr.split_inclusive('\n');
    let before = lines.take_while(|line| !begins.iter().any(|begin| line.starts_with(begin)));
    let from = before.map(str::len).sum::<usize>();
    output.normalise(&output.stderr[from..])
}

fn fails(bench: &Bench, options: &[&str], dockerfile: &str) -> Output {
    bench.file("Dockerfile", dockerfile);
    let output = bench.run(["build", "-t", "made"].iter().chain(options).chain(&["."]));
    assert_ne!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("panicked") && !output.stderr.contains("backtrace"), "{output}");
    output
}

/// The lines that give advice.
fn hints(screen: &str) -> Vec<&str> {
    screen.lines().filter_map(|line| line.strip_prefix("hint: ")).collect()
}

/// The one advice of a screen.
#[track_caller]
fn hint(screen: &str) -> &str {
    let all = hints(screen);
    assert_eq!(all.len(), 1, "one advice in:\n{screen}");
    all[0]
}

/// Puts an image that has these files beside a busybox into the registry.
fn image(registry: &LoopbackRegistry, name: &str, files: &Rootfs) {
    let mut image = Image::of_busybox().expect("the bench has one");
    image.layer(files);
    registry.put(&format!("library/{name}"), "latest", &image);
}

/// Everything on one screen: the lines of the file, the status, the last lines, the other steps, the log.
#[test]
fn the_last_screen_says_what_failed_and_what_was_done() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let earlier = "FROM busybox AS one\nRUN echo one > /one\n";
    bench.file("Dockerfile", earlier);
    bench.run(["build", "--target", "one", "."]).success();
    let dockerfile = format!(
        "{earlier}FROM busybox AS slow\nRUN while test ! -e /never; do sleep 0.1; done\nFROM busybox AS two\n\
         COPY --from=one /one /\nRUN cat /one && for n in $(seq 60); do echo line $n; done && \\\n    exit 7\n\
         FROM busybox\nCOPY --from=slow /x /\nCOPY --from=two /x /y\n"
    );
    let shown = screen(&bench, &[], &dockerfile);
    let lines: Vec<String> = (11..=60).map(|number| format!("  | line {number}\n")).collect();
    let lines = lines.concat();
    assert!(shown.starts_with("other steps: 1 done, 1 cached, 1 cancelled, 2 never started\n  "), "{shown}");
    let expected = format!(
        "last lines of [two] RUN cat /one && for n in $(seq 60); do echo line $n; done && exit 7:\n{lines}\
         error: [two] RUN cat /one && for n in $(seq 60); do echo line $n; done && exit 7 failed: exit status 7\n\
        \x20--> Dockerfile:7:1\n  |\n\
         7 | / RUN cat /one && for n in $(seq 60); do echo line $n; done && \\\n\
         8 | |     exit 7\n  | |__________^ exit status 7 after [TIME]\n\
         full log: "
    );
    let at = shown.find(&expected).unwrap_or_else(|| panic!("expected:\n{expected}\nin:\n{shown}"));
    let (rest, last) = shown.split_at(at);
    for part in [
        "done          [two 2/3] COPY --from=one /one /\n",
        "cancelled     [slow 2/2] RUN while test ! -e /never; do sleep 0.1; done\n",
        "never started [stage-3 2/3] COPY --from=slow /x /\n                [stage-3 3/3] COPY --from=two /x /y\n",
    ] {
        assert!(rest.contains(part), "{part}\nin:\n{rest}");
    }
    let log = last.lines().find_map(|line| line.strip_prefix("full log: ")).expect("the log is named");
    let log = log.replace("[BENCH]", &bench.path("").display().to_string());
    let log = fs::read_to_string(log.trim()).expect("the log is there");
    assert_eq!(log.lines().count(), 61, "{log}");
    assert!(hints(&shown).is_empty(), "{shown}");
}

/// It was stopped, and has not failed: the next build does not say that it did.
#[test]
fn a_step_that_is_ended_because_another_failed_is_cancelled() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = |code: u8| {
        let cache = "--mount=type=cache,target=/c";
        format!(
            "FROM busybox AS slow\nRUN {cache} touch /c/begun && while test ! -e /never; do sleep 0.1; done\n\
             FROM busybox AS bad\nRUN {cache} until test -e /c/begun; do sleep 0.1; done; exit {code}\n\
             FROM busybox\nCOPY --from=slow / /x\nCOPY --from=bad / /y\n"
        )
    };
    // Of each line about the slow step, what follows its number.
    let of_slow = |code: u8| {
        let said = fails(&bench, &["--progress=plain"], &dockerfile(code)).stderr;
        let named = said.lines().find(|line| line.contains(" [slow 2/2] RUN ")).expect("the step is listed");
        let number = format!("{} ", named.split(' ').next().unwrap_or_default());
        said.lines().filter_map(|line| line.strip_prefix(&number)).map(str::to_owned).collect::<Vec<_>>()
    };
    let said = of_slow(3);
    assert!(said.iter().any(|line| line == "CANCELED") && !said.concat().contains("ERROR"), "{said:?}");
    let said = of_slow(4);
    assert!(said.iter().any(|line| line.ends_with("nothing has changed, but it has never finished")), "{said:?}");
}

/// `127` by each shell's words, and in the exec form; the package is the image's own manager's.
#[test]
fn a_command_that_is_not_in_the_image_is_named_with_its_package() {
    let Some((bench, registry)) = with_busybox() else { return };
    let with = |name: &str, program: &str, release: &str| {
        let mut files = Rootfs::new();
        files.dir("usr/bin", 0o755).dir("sbin", 0o755);
        if !program.is_empty() {
            files.file(program, 0o755, "#!/bin/sh\n");
        }
        files.file("etc/os-release", 0o644, release);
        image(&registry, name, &files);
    };
    with("deb", "usr/bin/apt-get", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
    with("alp", "sbin/apk", "ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.22\"\n");
    with("fed", "usr/bin/dnf", "ID=fedora\nPRETTY_NAME='Fedora Linux 42'\n");
    with("sus", "usr/bin/zypper", "NAME=openSUSE\n");
    with("distroless", "", "PRETTY_NAME=\"Distroless\"\n");
    let said = |base: &str, run: &str| {
        let shown = screen(&bench, &[], &format!("FROM {base}\nRUN {run}\n"));
        hint(&shown).to_owned()
    };
    assert_eq!(
        said("deb", "curl -fsS https://example.com"),
        "`curl` is not in the image (Debian GNU/Linux 13 (trixie)): install it before, with `RUN apt-get update && apt-get \
         install -y --no-install-recommends curl`."
    );
    let gcc =
        "`gcc` is not in the image (Alpine Linux v3.22): install it before, with `RUN apk add --no-cache build-base`.";
    assert_eq!(said("alp", "gcc -c x.c"), gcc);
    assert_eq!(said("alp", "[\"gcc\", \"-c\", \"x.c\"]"), gcc);
    assert_eq!(said("alp", "true && gcc -c x.c"), gcc);
    assert_eq!(
        said("fed", "ninja all"),
        "`ninja` is not in the image (Fedora Linux 42): install it before, with `RUN dnf install -y ninja-build`."
    );
    assert_eq!(
        said("sus", "g++ x.cc"),
        "`g++` is not in the image (openSUSE): install it before, with `RUN zypper --non-interactive install gcc-c++`."
    );
    assert_eq!(
        said("alp", "apt-get update"),
        "`apt-get` is not in the image (Alpine Linux v3.22), whose package manager is `apk`."
    );
    assert_eq!(
        said("distroless", "git clone x"),
        "`git` is not in the image (Distroless), which has no package manager: copy it from a stage that has it, or use \
         another base image."
    );
    assert_eq!(
        said("alp", "my-tool"),
        "`my-tool` is not in the image (Alpine Linux v3.22): install the package that has it, with `RUN apk add --no-cache \
         PACKAGE`, or check the name and `PATH`."
    );
    // A command that only says 127 for itself has no unknown command.
    let shown = screen(&bench, &[], "FROM alp\nRUN exit 127\n");
    assert_eq!(hint(&shown), "127 means that a command was not found in the image.");
}

/// A script whose first line names what the image does not have.
#[test]
fn an_interpreter_that_is_missing_is_named() {
    let Some((bench, registry)) = with_busybox() else { return };
    let mut files = Rootfs::new();
    files.file("sbin/apk", 0o755, "#!/bin/sh\n");
    files.file("run.sh", 0o755, "#!/usr/bin/bash\necho hello\n").file("crlf.sh", 0o755, "#!/bin/sh\r\necho hello\r\n");
    files.file("linked", 0o755, b"\x7fELF\x02\x01\x01\0/lib64/ld-linux-x86-64.so.2\0".as_slice());
    image(&registry, "scripts", &files);
    let said = |run: &str| hint(&screen(&bench, &[], &format!("FROM scripts\nRUN {run}\n"))).to_owned();
    assert_eq!(
        said("[\"/run.sh\"]"),
        "`/run.sh` needs `/usr/bin/bash`, which is not in the image: install it before, with `RUN apk add --no-cache bash`."
    );
    let bash = said("[\"/run.sh\"]");
    assert_eq!(said("/run.sh"), bash);
    let relative = bash.replace("`/run.sh`", "`./run.sh`");
    assert_eq!(said("./run.sh"), relative);
    assert_eq!(said("cd /etc && cd .. && ./run.sh"), relative);
    assert_eq!(
        said("printf '#!/bin/none\\n' > /new && chmod 755 /new && /new"),
        "`/new` needs `/bin/none`, which is not in the image: install the package that has it, with `RUN apk add --no-cache \
         PACKAGE`, or check the name and `PATH`."
    );
    let heredoc = |first: &str| said(&format!("<<EOF\n{first}\nprint(1)\nEOF"));
    assert_eq!(
        heredoc("#!/usr/bin/python3"),
        "`/dev/pipes/EOF` needs `/usr/bin/python3`, which is not in the image: install it before, with `RUN apk add --no-cache \
         python3`."
    );
    assert_eq!(
        heredoc("#!/bin/env python3"),
        "`python3` is not in the image: install it before, with `RUN apk add --no-cache python3`."
    );
    bench.program("ctx/run.sh", "#!/usr/bin/bash\n");
    assert_eq!(said("--mount=target=/src,source=ctx /src/run.sh"), bash.replace("/run.sh", "/src/run.sh"));
    assert_eq!(said("/rn.sh"), "There is no `/rn.sh` in the image; it has `/run.sh`.");
    assert_eq!(said("cd /etc && ./nothing"), "127 means that a command was not found in the image.");
    assert_eq!(
        said("run.sh"),
        "The image has `/run.sh`, in a directory that is not in `PATH`: name it with its path, or add the directory with \
         `ENV PATH`."
    );
    assert!(
        said("mkdir /app && cd /app && mv /run.sh . && run.sh")
            .starts_with("The image has `/app/run.sh`, in a directory")
    );
    assert_eq!(
        said("echo '#!/usr/bin/sh' > /sh.sh && chmod 755 /sh.sh && /sh.sh"),
        "`/sh.sh` needs `/usr/bin/sh`, which the image has as `/bin/sh`: change its first line."
    );
    assert!(said("echo 'pushd: not found'; exit 127").starts_with("`pushd` is a word of bash"));
    let crlf = said("[\"/crlf.sh\"]");
    assert_eq!(said("/crlf.sh"), crlf);
    assert_eq!(
        crlf,
        "`/crlf.sh` begins with `#!/bin/sh` and a carriage return, which is part of the name: give it the line ends of Linux \
         (in Git: `*.sh text eol=lf` in `.gitattributes`)."
    );
}

/// A program that is a directory, or a shell that is not there; the state is there to be looked at.
#[test]
fn a_command_that_cannot_be_started_is_told_with_what_is_in_its_place() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let said = |lines: &str| {
        let shown = screen(&bench, &[], lines);
        assert!(shown.contains("look inside: stave debug"), "{shown}");
        hint(&shown).to_owned()
    };
    bench.file("a", "a");
    let no_shell = "The image has no `/bin/sh`, the shell that runs what stands behind `RUN`: write `RUN [\"program\", \
                    \"argument\"]`, which needs no shell, copy a static shell there before, or use a base image that has one.";
    assert_eq!(said("FROM scratch\nCOPY a /\nRUN echo hello\n"), no_shell);
    assert_eq!(
        said("FROM busybox\nSHELL [\"/bin/zsh\", \"-c\"]\nRUN echo hello\n"),
        no_shell.replace("/bin/sh", "/bin/zsh")
    );
    assert_eq!(said("FROM busybox\nRUN [\"/bin\"]\n"), "`/bin` is a directory: name a program in it.");
    assert_eq!(said("FROM busybox\nRUN /etc\n"), "`/etc` is a directory: name a program in it.");
    assert_eq!(
        said("FROM busybox\nRUN [\"/bin/busybo\"]\n"),
        "There is no `/bin/busybo` in the image; it has `/bin/busybox`."
    );
    assert_eq!(
        said("FROM busybox\nRUN [\"echo hello\"]\n"),
        "The whole of the first string is taken for the name of a program: between brackets each argument is a string of its own."
    );
}

/// A secret that the step's user may not read, or that nobody gave; a cache of another user.
#[test]
fn a_mount_that_cannot_be_used_is_told_with_its_option() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("token", "x");
    let said = |options: &[&str], run: &str| {
        hint(&screen(&bench, options, &format!("FROM busybox\nUSER 7\nRUN {run}\n"))).to_owned()
    };
    assert_eq!(
        said(&["--secret", "id=tok,src=token"], "--mount=type=secret,id=tok cat /run/secrets/tok"),
        "The step runs as user 7, and the secret on `/run/secrets/tok` belongs to 0:0 with mode 0400: add `uid=7` (or \
         `mode=`) to the mount."
    );
    assert_eq!(
        said(&[], "touch /x"),
        "The step runs as user 7, and directory `/` belongs to root:root with mode 0755: do it before `USER`, or give the files \
         away with `COPY --chown=7` or `RUN chown`."
    );
    let none = "`/run/secrets/tok` is for the secret `tok`, which was not given: `--secret id=tok,src=FILE`.";
    assert_eq!(said(&[], "--mount=type=secret,id=tok cat /run/secrets/tok"), none);
    assert_eq!(
        said(&[], "--mount=type=secret,id=tok,env=TOKEN : ${TOKEN:?}"),
        none.replace("/run/secrets/tok", "$TOKEN")
    );
    assert_eq!(
        said(&[], "--mount=type=cache,target=/cache touch /cache/x"),
        "The step runs as user 7, and the cache on `/cache` belongs to 0:0 with mode 0755: add `uid=7` (or `mode=`) to the \
         mount with a new `id=`, as a cache keeps the owner that it has."
    );
}

/// A file system in memory is the step's own, and no matter of the store's.
#[test]
fn a_mount_that_is_full_is_told_with_the_option_that_makes_it_larger() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let said =
        |options: &[&str], run: &str| hint(&screen(&bench, options, &format!("FROM busybox\nRUN {run}\n"))).to_owned();
    let tmpfs = "--mount=type=tmpfs,target=/t,size=1m";
    let larger = "raise `size=` of the mount on `/t`, or write elsewhere.";
    assert_eq!(
        said(&[], &format!("{tmpfs} dd if=/dev/zero of=/t/x bs=1M count=3")),
        format!("`/t` is in memory and holds 1 MiB, which is used up: {larger}")
    );
    assert_eq!(
        said(&[], &format!("{tmpfs} yes > /t/x || {{ echo 'write error: No space left on device'; exit 1; }}")),
        format!("If it was `/t` that is full, which is in memory and holds 1 MiB: {larger}")
    );
    assert_eq!(
        said(&["--shm-size", "1m"], "dd if=/dev/zero of=/dev/shm/x bs=1M count=3"),
        "`/dev/shm` is in memory and holds 1 MiB, which is used up: `--shm-size` gives a step more."
    );
}

/// Names of the file that mean nothing where they stand.
#[test]
fn a_failure_points_at_the_instruction_that_causes_it() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("x", "x");
    let said = |options: &[&str], lines: &str| hint(&screen(&bench, options, lines)).to_owned();
    assert_eq!(
        said(&[], "FROM busybox\nUSER bob\nRUN true\n"),
        "`USER` in line 2 names it: make `bob` before, with `useradd` or `adduser`, or name a number."
    );
    assert_eq!(
        said(&[], "FROM busybox\nCOPY ../secret /x\n"),
        "`..` leads nowhere above the root of the build context, so it is `secret` that was looked for: build with a directory \
         above as the context, or give that one with `--build-context NAME=DIR` and copy `--from=NAME`."
    );
    assert_eq!(
        said(&["--ulimit", "nofile=10:20"], "FROM busybox\nRUN true\n"),
        "`--ulimit nofile=10` leaves the step fewer open files than it takes to start its command."
    );
    assert_eq!(
        said(&[], "FROM busybox\nRUN ['a', 'b']\n"),
        "It looks like a JSON array and is none: its strings need double quotes."
    );
    let shown = screen(&bench, &[], "FROM b AS a\nFROM a AS b\n");
    assert_eq!(
        shown,
        "error[D012]: stage `b` begins below, in line 2, and no image of that name can be had\n\
        \x20--> Dockerfile:1:6\n  |\n1 | FROM b AS a\n  |      ^ only stages above can be named\n\
         hint: A stage can start from those above it: change their order.\n"
    );
    bench.file("Dockerfile", "FROM busybox\nONBUILD RUN exit 3\n");
    bench.run(["build", "-t", "withtrigger", "."]).success();
    let shown = screen(&bench, &[], "FROM withtrigger\nRUN true\n");
    let label = "^^^^^^^^^^^ exit status 3 after [TIME], in a trigger of the base: `ONBUILD RUN exit 3`\n";
    assert!(shown.contains(label), "{shown}");
}

/// A Dockerfile that is a link to nowhere, and one of another name.
#[test]
fn a_dockerfile_that_is_not_there_is_told_with_what_is() {
    let bench = Bench::new();
    let said = || {
        let output = bench.run(["build", "."]);
        output.exit(2).stderr.clone()
    };
    bench.file("DockerFile", "FROM scratch\n");
    assert_eq!(
        said(),
        "error: the context has no file `Dockerfile`\nhint: It has `DockerFile`: if that is one, name it with `-f DockerFile`.\n"
    );
    std::os::unix::fs::symlink("/nowhere/Dockerfile", bench.work().join("Dockerfile")).expect("a writable bench");
    assert_eq!(
        said(),
        "error: `Dockerfile` of the context is a link to `/nowhere/Dockerfile`, which the context does not have\n\
         hint: Links lead nowhere out of the context; `-f` takes a Dockerfile from anywhere.\n"
    );
    let images = bench.run(["rmi", "busybox:"]);
    images.exit(1).complains("hint: See `stave images`: `busybox:` is not an image name: its tag is not valid");
}

/// Words that other messages have in common with those that advice is given on.
#[test]
fn what_only_sounds_like_a_known_complaint_has_no_advice() {
    let Some((bench, _registry)) = with_busybox() else { return };
    for said in [
        "file.txt: not found",
        "GET /x: 404: not found",
        "expected Permission denied, got ok /app/x",
        "HTTP 403 Permission denied: https://example.com/z",
        "Operation timed out",
        "warning: getaddrinfo is deprecated",
        "connection refused, trying again\\nAssertionError: 1 != 2",
        "touch: /x: Read-only file system",
    ] {
        let shown = screen(&bench, &[], &format!("FROM busybox\nRUN printf '{said}\\n'; exit 1\n"));
        assert!(hints(&shown).is_empty(), "{shown}");
    }
}

/// What standard output goes to has nothing to do with the store's disk.
#[test]
fn standard_output_that_takes_no_more_is_said_to_be_so() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\n");
    bench.run(["build", "-t", "made", "."]).success();
    for args in [&["save", "made"][..], &["build", "-q", "."], &["build", "-o", "-", "."], &["report"]] {
        let mut command = bench.command(args);
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").expect("a device of every machine"));
        let output = bench.finish(command);
        output.exit(3).complains("standard output");
        let hint = "The file or the device that standard output goes to has no space left.";
        assert_eq!(hints(&output.stderr), [hint], "{output}");
    }
}

/// `COPY` and mounts of what is not there: the nearest name, and the rule that hides it.
#[test]
fn a_source_that_is_missing_is_told_with_its_neighbour_or_the_rule_that_hides_it() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("requirements.txt", "x").file("src/main.c", "x").file("deep/down/settings.json", "x");
    bench.file("secret.key", "x").file("dist/app.js", "x").file(".dockerignore", "# comment\n*.key\ndist\n");
    bench.file("named/here", "x");
    let said = |lines: &str| hint(&screen(&bench, &["--build-context", "other=named"], lines)).to_owned();
    let copy = |words: &str| said(&format!("FROM busybox\nCOPY {words}\n"));
    assert_eq!(copy("requirement.txt /"), "The build context has `requirements.txt`.");
    assert_eq!(copy("scr/main.c /"), "The build context has `src/main.c`.");
    assert_eq!(copy("settings.json /"), "The build context has `deep/down/settings.json`.");
    assert_eq!(
        copy("nothing-like-it /"),
        "The build context has nothing of that name; paths are relative to its root."
    );
    assert_eq!(
        copy("secret.key /"),
        "`secret.key` is in the build context, and line 2 of `.dockerignore` leaves it out: add `!secret.key` below that \
         line, or remove the line."
    );
    assert_eq!(
        copy("dist/ap.js /"),
        "The build context has `dist/app.js`, which line 3 of `.dockerignore` leaves out."
    );
    assert_eq!(copy("--from=other her /"), "Context `other` has `here`.");
    let add = said("FROM busybox\nADD requirement.txt /\n");
    assert_eq!(add, "The build context has `requirements.txt`.");
    let mount = said("FROM busybox\nRUN --mount=source=scr,target=/in true\n");
    assert_eq!(mount, "The build context has `src`.");
    let stage = "FROM busybox AS make\nRUN mkdir /out && touch /out/application\nFROM busybox\n";
    assert_eq!(said(&format!("{stage}COPY --from=make /out/aplication /\n")), "Stage `make` has `out/application`.");
    assert_eq!(said(&format!("{stage}RUN --mount=from=make,source=/uot,target=/in true\n")), "Stage `make` has `out`.");
    assert_eq!(copy("--from=busybox /bin/busybo /"), "The image has `bin/busybox`.");
    // The whole screen of one.
    let shown = screen(&bench, &[], "FROM busybox\nCOPY requirement.txt /\n");
    assert_eq!(
        shown,
        "error: [stage-0] COPY requirement.txt / failed: cannot read the context\n\
        \x20--> Dockerfile:2:1\n  |\n2 | COPY requirement.txt /\n  | ^^^^^^^^^^^^^^^^^^^^^^ `requirement.txt` not found\n\
         hint: The build context has `requirements.txt`.\n"
    );
}

/// What a step, and stave itself, did not reach; with proxies, without their passwords.
#[test]
fn what_is_not_reached_is_told_with_the_network_and_the_proxies() {
    let Some((bench, _registry)) = with_busybox() else { return };
    // Nobody listens at the first port, and none is given it.
    let closed = 1;
    let run = format!("FROM busybox\nRUN wget -q -O - http://127.0.0.1:{closed}/x\n");
    let said = |options: &[&str], lines: &str| hint(&screen(&bench, options, lines)).to_owned();
    assert_eq!(
        said(&[], &run),
        "Nobody listens at `127.0.0.1`, or a firewall refuses it: the step has the network of this machine, and no proxy is set."
    );
    let proxies = [
        "--build-arg",
        "HTTPS_PROXY=http://me:hunter2@proxy.invalid:3128",
        "--build-arg",
        "no_proxy=localhost,127.0.0.1",
    ];
    let shown = screen(&bench, &proxies, &run);
    assert_eq!(
        hint(&shown),
        "Nobody listens at `127.0.0.1`, or a firewall refuses it: the step has the network of this machine, and the proxies \
         are HTTPS_PROXY=http://proxy.invalid:3128, NO_PROXY=localhost,127.0.0.1."
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    let none = run.replace("RUN ", "RUN --network=none ");
    assert_eq!(
        said(&[], &none),
        "Nobody listens at `127.0.0.1`, or a firewall refuses it: the step has no network (`--network=none`), only its own \
         loopback device."
    );
    assert_eq!(
        said(&[], "FROM busybox\nRUN --network=none wget -q http://host.invalid/x\n"),
        "No address was found for `host.invalid`: the step has no network (`--network=none`), only its own loopback device."
    );
    // What stave fetches itself.
    assert_eq!(
        said(&[], &format!("FROM busybox\nADD http://127.0.0.1:{closed}/x /\n")),
        "Nobody listens at `127.0.0.1`, or a firewall refuses it: stave uses the network of this machine, and no proxy is set."
    );
    let mut bench = bench;
    bench.set("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:9");
    let shown = screen(&bench, &[], &run);
    assert_eq!(
        hint(&shown),
        "Nobody listens at `127.0.0.1`, or a firewall refuses it: the step has the network of this machine and no proxy. \
         stave's own proxies reach it only as build arguments: `--build-arg HTTPS_PROXY`."
    );
    let base = screen(&bench, &[], &format!("FROM 127.0.0.1:{closed}/base\nRUN true\n"));
    assert!(
        hint(&base).starts_with("Nobody listens at `127.0.0.1`")
            && hint(&base).contains("HTTPS_PROXY=http://[LOOPBACK]"),
        "{base}"
    );
    assert!(!base.contains("hunter2"), "{base}");
    // Where mirrors are dead, too, it is the registry itself that counts.
    let conf = "[[registry]]\nlocation = \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:2\"\n";
    std::fs::write(bench.path("registries.conf"), conf).expect("a writable bench");
    let mirrored = screen(&bench, &[], &format!("FROM 127.0.0.1:{closed}/base\nRUN true\n"));
    assert!(mirrored.starts_with("error: no mirror of ") && hint(&mirrored) == hint(&base), "{mirrored}");
}

/// What the user of a step may not do, with the owner and the mode of what was in the way.
#[test]
fn what_is_refused_is_told_with_its_owner_and_the_user_in_force() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("run.sh", "#!/bin/sh\n");
    let said = |lines: &str| hint(&screen(&bench, &[], &format!("FROM busybox\n{lines}\n"))).to_owned();
    let user = "RUN echo app:x:1000:1000::/:/bin/sh >> /etc/passwd && mkdir /data && touch /data/f\nUSER app\n";
    assert_eq!(
        said(&format!("{user}RUN echo x > /data/g")),
        "The step runs as `app` (uid 1000), and directory `/data` belongs to root:root with mode 0755: do it before `USER`, or \
         give the files away with `COPY --chown=app` or `RUN chown`."
    );
    assert_eq!(
        said(&format!("{user}RUN touch /data/f")),
        "The step runs as `app` (uid 1000), and `/data/f` belongs to root:root with mode 0644: do it before `USER`, or give \
         the files away with `COPY --chown=app` or `RUN chown`."
    );
    let script = "The step runs as `root` (uid 0), and `/run.sh` belongs to root:root with mode 0644, which nobody may \
                  execute: `COPY --chmod=755`, or `RUN chmod +x`.";
    assert_eq!(said("COPY run.sh /\nRUN /run.sh"), script);
    assert_eq!(said("COPY run.sh /\nRUN [\"/run.sh\"]"), script);
    assert_eq!(
        said("RUN mount -t tmpfs none /tmp"),
        "The step runs as root in a sandbox, which has no rights over this machine: mounts, devices and the kernel's \
         settings are not its own (`RUN --security=insecure` with `--allow security.insecure`)."
    );
}

#[test]
fn a_read_only_place_is_told_with_its_mount() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "a");
    let said = |run: &str| hint(&screen(&bench, &[], &format!("FROM busybox\nRUN {run}\n"))).to_owned();
    assert_eq!(
        said("--mount=target=/in touch /in/new"),
        "`/in/new` is in the mount on `/in`, which is read-only: write elsewhere, or add `rw` to the mount (what is written \
         to a bind is thrown away after the step)."
    );
    assert_eq!(
        said("touch /sys/x"),
        "`/sys/x` cannot be written in any step: `/proc`, `/sys` and what is mounted read-only belong to the machine."
    );
}

#[test]
fn a_program_for_another_machine_is_told_with_both() {
    let Some((bench, _registry)) = with_busybox() else { return };
    // The beginning of a program for a processor that no test machine has, and a text that says nothing.
    let mut foreign = b"\x7fELF\x02\x02\x01".to_vec();
    foreign.resize(16, 0);
    foreign.extend([0, 2, 0, 22]);
    foreign.resize(200, 0);
    bench.program("foreign", &foreign).program("text", "\u{7}neither\n");
    let said =
        |run: &str| hint(&screen(&bench, &[], &format!("FROM busybox\nCOPY foreign text /\nRUN {run}\n"))).to_owned();
    let platform = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    for run in ["[\"/foreign\"]", "exec /foreign"] {
        assert_eq!(
            said(run),
            format!(
                "`/foreign` is for linux/s390x, and the step is for {platform}: build or fetch it for that platform (`ARG \
                 TARGETARCH` says which), or choose another with `--platform`."
            )
        );
    }
    assert_eq!(
        said("[\"/text\"]"),
        "`/text` is a text without a first line like `#!/bin/sh`, and nothing says what runs it."
    );
}

/// A memory cgroup with a limit, removed again with the value; nothing after saying why there is none.
struct Group(PathBuf);

impl Group {
    fn make(bytes: u64) -> Option<Self> {
        needs::root()?;
        let name = format!("stave-test-{}", std::process::id());
        let (first, second) = (Path::new("/sys/fs/cgroup/memory").join(&name), Path::new("/sys/fs/cgroup").join(&name));
        let (directory, file) = if Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists() {
            (first, "memory.limit_in_bytes")
        } else {
            (second, "memory.max")
        };
        if fs::create_dir(&directory).is_err() {
            needs::skipped("no memory cgroup can be made");
            return None;
        }
        let group = Self(directory);
        if fs::write(group.0.join(file), bytes.to_string()).is_err() {
            needs::skipped("no memory cgroup can be limited");
            return None;
        }
        // Without this the kernel would swap before it kills.
        drop(fs::write(group.0.join("memory.swap.max"), "0"));
        drop(fs::write(group.0.join("memory.swappiness"), "0"));
        Some(group)
    }

    /// Builds within the group.
    fn build(&self, bench: &Bench, dockerfile: &str) -> String {
        bench.file("Dockerfile", dockerfile);
        let mut command = bench.other(Path::new("/bin/sh"));
        let stave = stave_testkit::bench::stave_binary();
        let line = "echo $$ > \"$1/cgroup.procs\" && exec \"$2\" build --no-cache .";
        command.args(["-c", line, "sh"]).arg(&self.0).arg(stave);
        let output = bench.finish(command);
        output.exit(1);
        output.normalise(&output.stderr)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

/// A step that wants more than there is: killed itself, and killed below a shell that says 137.
#[test]
fn a_step_that_is_killed_for_memory_says_so_with_the_limit() {
    let Some(group) = Group::make(96 << 20) else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["pull", "busybox"]).success();
    let hungry = "awk 'BEGIN { s = \"xxxxxxxxxxxxxxxx\"; while (1) s = s s }'";
    let name = group.0.file_name().expect("it has one").to_string_lossy().into_owned();
    for (line, title) in [
        (format!("exec {hungry}"), "killed for memory at 96 MiB"),
        (format!("{hungry}; exit $?"), "exit status 137, a process of it was killed for memory at 96 MiB"),
    ] {
        let shown = group.build(&bench, &format!("FROM busybox\nRUN {line}\n"));
        assert!(
            shown.lines().any(|line| line.starts_with("error") && line.ends_with(&format!("failed: {title}"))),
            "{shown}"
        );
        // Every reader of the build says it in the same words.
        assert!(
            shown.lines().any(|line| line.starts_with('#') && line.contains(&format!(" ERROR: {title} after"))),
            "{shown}"
        );
        let reason = bench.run(["builds", "ls", "-n1", "--format={{.Reason}}"]).success().out();
        assert!(reason.trim_end().ends_with(&format!(": {title}")), "{reason}");
        let shown_later = bench.run(["builds", "show"]).success().out();
        assert!(shown_later.contains(title), "{shown_later}");
        let advice = hint(&shown);
        assert!(advice.starts_with("All that runs in cgroup `") && advice.contains(&name), "{advice}");
        assert!(
            advice.contains("may take 96 MiB together") && advice.contains("The largest process of the step had "),
            "{advice}"
        );
    }
    // Who is killed by somebody else was not killed for memory.
    let shown = group.build(&bench, "FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n");
    assert!(shown.contains("failed: exit status 137\n") && !shown.contains("for memory"), "{shown}");
}

/// An image that is nowhere is said to be so in a line, with the name that was perhaps meant: a stage's, or that of an image
/// of the store.
#[test]
fn an_image_that_is_nowhere_is_said_to_be_so_with_the_name_that_is_near() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let missing = "error: no image is named `alpin`\n --> Dockerfile:1:6\n  |\n1 | FROM alpin\n  |      ^^^^^ http://[LOOPBACK] has \
                   no `docker.io/library/alpin:latest`\n";
    assert_eq!(screen(&bench, &[], "FROM alpin\nRUN true\n"), missing);
    bench.run(["pull", "alpine"]).success();
    bench.run(["tag", "alpine", "example.com/team/tools:1.2"]).success();
    let near = format!("{missing}hint: The store has an image with a similar name: `alpine`.\n");
    assert_eq!(screen(&bench, &[], "FROM alpin\nRUN true\n"), near);
    let tagged = screen(&bench, &[], "FROM example.com/team/tool:1.2\n");
    assert!(
        hints(&tagged).contains(&"The store has an image with a similar name: `example.com/team/tools:1.2`."),
        "{tagged}"
    );
    assert_eq!(
        screen(&bench, &[], "FROM scratch AS build\nCOPY Dockerfile /\nFROM biuld\nRUN true\n"),
        "error[D012]: no stage and no image is named `biuld`\n --> Dockerfile:3:6\n  |\n3 | FROM biuld\n  |      ^^^^^ not the \
         name of an earlier stage\nhint: If a stage is meant, its name is `build`.\n"
    );
    assert_eq!(fails(&bench, &[], "FROM scratch AS build\nFROM biuld\n").code, 2);
    assert_eq!(fails(&bench, &[], "FROM alpin\n").code, 3);
}
