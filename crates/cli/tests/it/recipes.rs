//! The recipes of `examples/ci`: their commands are run, in containers with the rights that they ask for where they are for containers.
//!
//! What is left out is what belongs to others: checking out, caches of GitHub's, clusters.

use serde_json::Value;
use stave_testkit::bench::stave_binary;
use stave_testkit::dockerd::Dockerd;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, Output, needs};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ci")
}

/// A recipe, with the registry's name in the place of one that is in nobody's reach.
fn recipe(name: &str, from: &str, to: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect("a recipe").replace(from, to);
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A bench for a job, with an application and a registry that wants a password.
struct Job {
    bench: Bench,
    registry: LoopbackRegistry,
    _bases: LoopbackRegistry,
}

impl Job {
    fn new() -> Option<Self> {
        let (mut bench, bases) = with_busybox()?;
        bases.put("library/alpine", "3", &stave_testkit::Image::of_busybox()?);
        let registry = LoopbackRegistry::start();
        let programs = bench.path("bin");
        fs::create_dir(&programs).expect("a writable bench");
        symlink(stave_binary(), programs.join("stave")).expect("a writable bench");
        bench.set("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()));
        let job = Self { bench, registry, _bases: bases };
        job.reach(&job.registry.host());
        job.bench
            .file("Dockerfile", "FROM alpine AS build\nRUN echo app > /app\nFROM scratch\nCOPY --from=build /app /\n");
        Some(job)
    }

    /// Sends a name to the job's registry.
    fn reach(&self, name: &str) {
        let path = self.bench.path("registries.conf");
        let known = fs::read_to_string(&path).expect("the bench has it");
        let host = self.registry.host();
        let entry = format!("\n[[registry]]\nprefix = \"{name}\"\nlocation = \"{host}\"\ninsecure = true\n");
        fs::write(&path, known + &entry).expect("a writable bench");
    }

    /// Runs a script as a runner does: the first command that fails ends it.
    fn script(&self, text: &str) -> Output {
        let mut command = self.bench.other(Path::new("/bin/sh"));
        command.args(["-e", "-c", text]);
        self.bench.finish(command)
    }

    /// Forgets what this machine has built.
    fn on_another_machine(&mut self) {
        let store = self.bench.path("another-store");
        self.bench.set("STAVE_ROOT", store);
    }
}

/// `${{ NAME }}` with the values of a push to a repository.
fn with_values(text: &str) -> String {
    let values = [("github.repository", "me/app"), ("github.actor", "me"), ("secrets.GITHUB_TOKEN", "the password")];
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{{ {name} }}}}"), value);
    }
    assert!(!text.contains("${{"), "an expression without a value: {text}");
    text
}

/// Steps that change the machine of GitHub's that they run on.
const OF_THE_MACHINE: [&str; 2] = ["Install stave", "Let users make namespaces"];

#[test]
fn the_workflow_for_github_builds_pushes_and_uses_its_cache() {
    let Some(mut job) = Job::new() else { return };
    job.registry.require_password("me", "the password");
    let host = job.registry.host();
    let workflow = recipe("github.yaml", "ghcr.io", &host);
    job.bench.set("GITHUB_SHA", "0123abc");
    let variables = |job: &mut Job, env: &Value| {
        for (name, value) in env.as_object().into_iter().flatten() {
            job.bench.set(name, with_values(value.as_str().expect("a text")));
        }
    };
    variables(&mut job, &workflow["jobs"]["image"]["env"]);
    let run = |job: &mut Job| {
        let mut said = Vec::new();
        for step in workflow["jobs"]["image"]["steps"].as_array().expect("steps") {
            let name = step["name"].as_str().unwrap_or_default();
            let Some(script) = step["run"].as_str().filter(|_| !OF_THE_MACHINE.contains(&name)) else { continue };
            variables(job, &step["env"]);
            let output = job.script(&with_values(script));
            output.success();
            said.push((name.to_owned(), output.stderr));
        }
        said
    };
    let names: Vec<String> = run(&mut job).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Check the Dockerfile", "Log in", "Build", "Push"]);
    for tag in ["0123abc", "latest"] {
        assert!(job.registry.manifest("me/app", tag).is_some(), "nothing was pushed as {tag}");
    }
    job.on_another_machine();
    let said = run(&mut job);
    assert!(said[2].1.contains("CACHED"), "the cache was of no use: {}", said[2].1);
}

#[test]
fn the_pipeline_for_gitlab_builds_pushes_and_uses_its_cache() {
    let Some(mut job) = Job::new() else { return };
    job.registry.require_password("me", "the password");
    let host = job.registry.host();
    let pipeline = recipe("gitlab.yaml", "registry.example", &host);
    let given = [
        ("CI_REGISTRY", host.as_str()),
        ("CI_REGISTRY_USER", "me"),
        ("CI_REGISTRY_PASSWORD", "the password"),
        ("CI_COMMIT_REF_SLUG", "topic"),
        ("CI_DEFAULT_BRANCH", "main"),
    ];
    for (name, value) in given {
        job.bench.set(name, value);
    }
    job.bench.set("CI_REGISTRY_IMAGE", format!("{host}/me/app"));
    let run = |job: &Job| {
        let mut said = String::new();
        for stage in pipeline["stages"].as_array().expect("stages") {
            let task = &pipeline[stage.as_str().expect("a name")];
            assert_eq!(&task["stage"], stage);
            let variables = task["variables"].as_object().into_iter().flatten();
            let exports = variables.map(|(name, value)| format!("export {name}={}", value.as_str().expect("a text")));
            let commands =
                ["before_script", "script"].into_iter().flat_map(|part| task[part].as_array().into_iter().flatten());
            let commands = commands.map(|command| command.as_str().expect("a command").to_owned());
            let script: Vec<String> = exports.chain(commands).collect();
            let output = job.script(&script.join("\n"));
            said += &output.success().stderr;
        }
        said
    };
    run(&job);
    assert!(job.registry.manifest("me/app", "topic").is_some(), "nothing was pushed");
    job.on_another_machine();
    let said = run(&job);
    assert!(said.contains("CACHED"), "the cache was of no use: {said}");
}

/// The image of `examples/ci/Dockerfile` in a dockerd, or nothing where a machine lacks what it takes.
fn tool_image(job: &Job) -> Option<Dockerd> {
    let binary = fs::read(stave_binary()).expect("stave is there");
    if binary[..4096].windows(4).any(|window| window == b"/ld-") {
        needs::skipped("`stave` is not static (`cargo xtask test` builds it so)");
        return None;
    }
    let dockerd = Dockerd::start(&job.bench, None)?;
    let context = job.bench.path("tool");
    fs::create_dir(&context).expect("a writable bench");
    fs::copy(folder().join("Dockerfile"), context.join("Dockerfile")).expect("a recipe");
    fs::copy(stave_binary(), context.join("stave")).expect("a writable bench");
    let mut build = job.bench.command(["build", "-t", "tool", "-o", "type=docker,dest=tool.tar"]);
    build.arg(&context);
    job.bench.finish(build).success();
    dockerd.docker(&job.bench, &["load", "-i", "tool.tar"]).success();
    Some(dockerd)
}

/// Runs a command in the tool's image, with the job's directory as `/work/app`.
fn in_container(job: &Job, dockerd: &Dockerd, options: &[&str], command: &[&str]) -> Output {
    let work = job.bench.work();
    chown(&work, Some(1000), Some(1000)).expect("root");
    fs::set_permissions(job.bench.path(""), fs::Permissions::from_mode(0o755)).expect("the bench's own");
    let mounts = [
        format!("{}:/work/app", work.display()),
        format!("{}:/etc/containers/registries.conf:ro", job.bench.path("registries.conf").display()),
    ];
    // What this machine lets nobody raise must not be raised.
    let mut args = vec!["run", "--rm", "--network=host", "--ulimit", "nofile=1024:1024", "--workdir=/work/app"];
    args.extend(mounts.iter().flat_map(|mount| ["--volume", mount.as_str()]));
    args.extend(options);
    args.push("tool");
    args.extend(command);
    dockerd.docker(&job.bench, &args)
}

/// The options of `docker run` that the page on life without root lists.
fn options_of_the_book() -> Vec<String> {
    let page = fs::read_to_string(folder().join("../../docs/rootless.md")).expect("a page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `--")?.split_once('`'));
    rows.flat_map(|(option, _)| format!("--{option}").split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn what_the_book_says_of_docker_is_what_the_pod_is_run_with() {
    let security = ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"];
    let mut options = vec!["--user=1000:1000", "--cap-drop=ALL"];
    options.extend(security.iter().flat_map(|option| ["--security-opt", option]));
    assert_eq!(options_of_the_book(), options);
}

#[test]
fn the_pod_builds_and_pushes_with_the_rights_that_it_asks_for() {
    let Some(job) = Job::new() else { return };
    job.reach("registry.example");
    let Some(dockerd) = tool_image(&job) else { return };
    let pod = recipe("pod.yaml", "", "");
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    let wanted = &container["securityContext"];
    assert_eq!((&spec["hostUsers"], &wanted["allowPrivilegeEscalation"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!((&wanted["procMount"], &wanted["seccompProfile"]["type"]), (&"Unmasked".into(), &"Unconfined".into()));
    let user = format!("--user={}:{}", spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]);
    let drop = format!("--cap-drop={}", wanted["capabilities"]["drop"][0].as_str().expect("a list"));
    // The same words for Docker.
    let options = options_of_the_book();
    assert_eq!(options[..2], [user, drop]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let command: Vec<&str> =
        container["command"].as_array().expect("a list").iter().map(|word| word.as_str().expect("a word")).collect();
    in_container(&job, &dockerd, &options, &command).success();
    assert!(job.registry.manifest("me/app", "1").is_some(), "nothing was pushed");
    assert!(job.registry.manifest("me/app-cache", "latest").is_some(), "nothing was cached");
}

#[test]
fn a_runner_of_gitlabs_has_the_rights_that_its_configuration_gives() {
    let Some(job) = Job::new() else { return };
    let Some(dockerd) = tool_image(&job) else { return };
    let text = fs::read_to_string(folder().join("gitlab-runner.toml")).expect("a recipe");
    let config: toml::Table = text.parse().expect("TOML");
    let list = |name: &str| -> Vec<String> {
        let list = config["runners"]["docker"][name].as_array().expect("a list");
        list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let mut options = vec!["--user=root".to_owned()];
    options.extend(list("cap_add").into_iter().map(|word| format!("--cap-add={word}")));
    options.extend(list("security_opt").into_iter().map(|word| format!("--security-opt={word}")));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    in_container(&job, &dockerd, &options, &["stave", "build", "."]).success();
    let doctor = in_container(&job, &dockerd, &options, &["stave", "doctor", "--root", "/elsewhere"]);
    assert!(doctor.exit(3).out().contains("on which no layers can be joined"), "{}", doctor.out());
}
