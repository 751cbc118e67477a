//! `login`, `logout`, and what users see of registries that need them.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use stave_testkit::{Bench, LoopbackRegistry};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

/// An image of one file, in the store as `name`.
fn with_image(name: &str) -> Bench {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    bench.run(["build", "-q", "-t", name, "."]).success();
    bench
}

fn config(bench: &Bench) -> String {
    fs::read_to_string(bench.path("home/.docker/config.json")).unwrap_or_default()
}

/// I030, F021, F022.
#[test]
fn whoever_is_logged_in_may_push_and_after_logging_out_no_more() {
    for token in [false, true] {
        let registry = LoopbackRegistry::start();
        if token {
            registry.require_token("me", "s3cret:x");
        } else {
            registry.require_password("me", "s3cret:x");
        }
        let host = registry.host();
        let name = format!("{host}/app:1");
        let bench = with_image(&name);
        bench
            .run(["push", &name])
            .exit(3)
            .complains("without credentials: none are configured for it")
            .complains(&format!("hint: If it is private, log in with `stave login {host}`."));

        let wrong = bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"wrong\n".to_vec());
        wrong.exit(3).complains("does not accept this user name and password");
        assert_eq!(config(&bench), "", "nothing is kept that was refused");

        let right = bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"s3cret:x\n".to_vec());
        assert_eq!(right.success().out(), "Login Succeeded\n");
        right.complains("WARNING! Your credentials are stored unencrypted in '");
        let path = bench.path("home/.docker/config.json");
        assert_eq!(fs::metadata(&path).expect("it was written").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            config(&bench),
            format!("{{\n\t\"auths\": {{\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"bWU6czNjcmV0Ong=\"\n\t\t}}\n\t}}\n}}")
        );
        bench.run(["push", &name]).success();
        bench.run(["rmi", &name]).success();
        bench.run(["pull", &name]).success();

        let out = bench.run(["logout", &host]).success().out();
        assert_eq!(out, format!("Removing login credentials for {host}\n"));
        assert!(!config(&bench).contains(&host), "{}", config(&bench));
        bench.run(["pull", &name]).exit(3).complains("without credentials");
        bench.run(["logout", &host]).success().complains("not logged in to");
    }
}

/// I030.
#[test]
fn passwords_come_from_where_docker_takes_them() {
    let registry = LoopbackRegistry::start();
    registry.require_password("me", "secret");
    let (bench, host) = (Bench::new(), registry.host());
    let out = bench.run(["login", "-u", "me", "-p", "secret", &host]);
    out.success().complains("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    for text in ["secret", "secret\n", "secret\r\n"] {
        bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], text.into()).success();
    }
    bench.run(["login", "--password-stdin", &host]).exit(2).complains("`--password-stdin` needs a user's name");
    bench.run(["login", "-u", "me", "-p", "x", "--password-stdin", &host]).exit(2).complains("cannot be used together");
    // As docker: what is kept is tried.
    let again = bench.run(["login", &host]);
    assert_eq!(again.success().out(), "Login Succeeded\n");
    assert_eq!(again.stderr, "Authenticating with existing credentials...\n");
    registry.require_password("me", "changed");
    bench.run(["login", &host]).exit(3).complains("Authenticating with existing credentials...\nerror: ");
    registry.require_password("me", "secret");
    bench.run(["logout", &host]).success();
    bench.run(["login", &host]).exit(2).complains("standard input is no terminal to ask for a name or password on");
    bench.run(["login", "-u", "me", "-p", "x", "a b"]).exit(2).complains("is not the name of a registry");
    bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"\n".to_vec()).exit(2).complains("empty");
    // Who is no registry says so, and nothing is kept.
    registry.fail(|_| Some(stave_testkit::http::Response::status(404)));
    bench.run(["login", "-u", "me", "-p", "x", &host]).exit(3).complains("the server answered 404");
}

/// I030.
#[test]
fn a_credential_helper_keeps_what_the_file_names_it_for() {
    let registry = LoopbackRegistry::start();
    registry.require_password("me", "secret");
    let (mut bench, host) = (Bench::new(), registry.host());
    let script = "#!/bin/sh\ncase $1 in store) cat > \"$0.kept\";; \
        get) read server; [ -e \"$0.kept\" ] && echo '{\"Username\":\"me\",\"Secret\":\"secret\"}' || { echo 'credentials not found in native keychain'; exit 1; };; \
        erase) rm \"$0.kept\";; esac\n";
    bench.program("bin/docker-credential-test", script);
    let path = format!("{}:/usr/bin:/bin", bench.work().join("bin").display());
    bench.set("PATH", path);
    fs::create_dir(bench.path("home/.docker")).expect("a writable bench");
    fs::write(bench.path("home/.docker/config.json"), "{\"credsStore\":\"test\"}").expect("a writable bench");
    let out = bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"secret".to_vec());
    assert!(!out.success().stderr.contains("unencrypted"), "{}", out.stderr);
    assert!(!config(&bench).contains("auth\""), "{}", config(&bench));
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    let name = format!("{host}/app:1");
    bench.run(["build", "-q", "-t", &name, "."]).success();
    bench.run(["push", &name]).success();
    bench.run(["logout", &host]).success();
    bench.run(["push", &name]).exit(3).complains("without credentials");
}

#[test]
fn credentials_elsewhere_that_come_first_are_told() {
    let registry = LoopbackRegistry::start();
    registry.require_password("me", "secret");
    let (bench, host) = (Bench::new(), registry.host());
    fs::create_dir_all(bench.path("run/containers")).expect("a writable bench");
    let other = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"eW91OngK\"}}}}}}");
    fs::write(bench.path("run/containers/auth.json"), other).expect("a writable bench");
    let login = bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"secret".to_vec());
    login
        .success()
        .complains("containers/auth.json` has other credentials for")
        .complains("which are used rather than these");
    bench.run(["logout", &host]).success().complains("containers/auth.json` still has credentials for");
}

/// What is typed at the prompt for a password is not shown, and Ctrl-C there leaves the terminal as it was.
#[test]
fn a_terminal_shows_no_password_and_is_itself_again_after_ctrl_c() {
    let registry = LoopbackRegistry::start();
    registry.require_password("me", "secret");
    let (bench, host) = (Bench::new(), registry.host());
    for (typed, code) in [("secret\n", 0), ("sec\u{3}", 130)] {
        // What is kept would be tried first.
        bench.run(["logout", &host]).success();
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&ours).expect("a pseudo-terminal");
        unlockpt(&ours).expect("a pseudo-terminal");
        let path = ptsname(&ours, Vec::new()).expect("a pseudo-terminal").into_string().expect("a path");
        let open = || File::options().read(true).write(true).open(&path).expect("a pseudo-terminal");
        let (mut ours, theirs) = (File::from(ours), open());
        let mut command = bench.command(["login", &host]);
        let mut child = command.stdin(open()).stdout(Stdio::null()).stderr(open()).spawn().expect("stave starts");
        drop(command);
        let mut shown = String::new();
        let mut until = |ours: &mut File, text: &str| {
            let mut buffer = [0; 256];
            while !shown.contains(text) {
                let count = ours.read(&mut buffer).expect("the terminal is there");
                shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            shown.clone()
        };
        until(&mut ours, "Username: ");
        ours.write_all(b"me\n").expect("the terminal is there");
        until(&mut ours, "Password: ");
        ours.write_all(typed.as_bytes()).expect("the terminal is there");
        assert_eq!(child.wait().expect("waited for").code(), Some(code));
        let modes = rustix::termios::tcgetattr(&theirs).expect("a pseudo-terminal").local_modes;
        assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ISIG), "{modes:?}");
        let shown = until(&mut ours, "Password: ");
        assert!(!shown.contains("sec"), "{shown:?}");
        assert_eq!(config(&bench).contains(&host), code == 0);
    }
}

/// I029.
#[test]
fn all_tags_of_a_repository_go_and_come_at_once() {
    let registry = LoopbackRegistry::start();
    let host = registry.host();
    let bench = with_image(&format!("{host}/team/app:1"));
    for other in ["team/app:2", "team/app-2:3", "app:4"] {
        bench.run(["tag", &format!("{host}/team/app:1"), &format!("{host}/{other}")]).success();
    }
    let all = format!("{host}/team/app");
    let out = bench.run(["push", "-a", &all]).success().out();
    assert_eq!(out.lines().next(), Some(format!("The push refers to repository [{all}]").as_str()));
    let tags: Vec<&str> =
        out.lines().skip(1).map(|line| line.split(':').next().expect("there is a first part")).collect();
    assert_eq!(tags, ["1", "2"]);
    assert!(registry.manifest("team/app", "2").is_some() && registry.manifest("team/app-2", "3").is_none());
    bench.run(["push", "-a", &format!("{all}:1")]).exit(2).complains("Name the repository alone");
    bench.run(["push", "-a", &format!("{host}/none")]).exit(1).complains("no image here has a tag of");

    let other = Bench::new();
    let out = other.run(["pull", "-q", "--all-tags", &all]).success().out();
    assert_eq!(out, format!("{all}\n"), "as docker's, the repository alone");
    assert_eq!(other.run(["images", "-q", &all]).success().out().lines().count(), 2);
    other.run(["pull", "-a", &format!("{host}/none")]).exit(1).complains("the registry has no tag of");
}

/// F032: what the base's repository has is mounted, not sent.
#[test]
fn the_layers_of_a_base_from_the_same_registry_are_never_sent() {
    let registry = LoopbackRegistry::start();
    let host = registry.host();
    let base = format!("{host}/library/base:1");
    let bench = with_image(&base);
    bench.run(["push", &base]).success();
    let (bench, name) = (Bench::new(), format!("{host}/team/app:1"));
    bench.file("Dockerfile", format!("FROM {base}\nCOPY b /b\n")).file("b", "2");
    bench.run(["build", "-q", "-t", &name, "."]).success();
    drop(registry.take_log());
    bench.run(["push", &name]).success();
    let log = registry.take_log();
    let uploads = log.iter().filter(|line| line.starts_with("PUT /v2/team/app/blobs/uploads/")).count();
    assert_eq!(uploads, 2, "the new layer and the configuration: {log:?}");
    // The same again costs questions, and no byte.
    bench.run(["push", &name]).success();
    let log = registry.take_log();
    assert!(log.iter().all(|line| line.starts_with("HEAD ")), "{log:?}");
}
