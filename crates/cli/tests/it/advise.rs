//! Advice: each rule's is followed to the letter, and what it promised is measured; who does it right already gets none.

use std::fs;

use serde_json::Value;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry};

/// Programs that leave behind what the real ones do.
const NPM: &str = "#!/bin/sh\ntest -f package.json || exit 3\nsleep 0.2\nmkdir -p node_modules /root/.npm\n\
                   cp package.json node_modules/\nhead -c 200000 /dev/urandom > /root/.npm/index\n";
const APT: &str = "#!/bin/sh\ncase \"$1\" in\n\
                   update) mkdir -p /var/lib/apt/lists; head -c 300000 /dev/urandom > /var/lib/apt/lists/all;;\n\
                   install) test -f /var/lib/apt/lists/all || exit 100; sleep 0.2; echo \"$2\" > \"/usr/bin/$2\";;\nesac\n";
const GCC: &str = "#!/bin/sh\nhead -c 100000 /dev/urandom > /var/gcc-temporary\ncp /bin/busybox \"$2\"\n";

/// What the headers of directories above may add to a gain of bytes, and the end of a tar.
const TOLERANCE: u64 = 4096;

/// A project, built on an image called `tools` that has the programs.
struct Project {
    bench: Bench,
    _registry: LoopbackRegistry,
}

impl Project {
    fn new(dockerfile: &str) -> Option<Self> {
        let (bench, registry) = with_busybox()?;
        for (name, script) in [("npm", NPM), ("apt-get", APT), ("gcc", GCC)] {
            bench.program(&format!("tools/{name}"), script);
        }
        bench.file("tools/Dockerfile", "FROM busybox\nCOPY npm apt-get gcc /usr/bin/\n");
        bench.run(["build", "-q", "-t", "tools", "tools"]).success();
        bench.file(".dockerignore", "tools\nDockerfile\n.dockerignore\n").file("Dockerfile", dockerfile);
        bench.file("package.json", "{}").file("package-lock.json", "{}").file("src/a.c", "int a;");
        bench.file("src/large", vec![7; 120_000]);
        Some(Self { bench, _registry: registry })
    }

    fn build(&self) -> &Self {
        self.bench.run(["build", "--progress=plain", "-t", "made", "."]).success();
        self
    }

    /// Returns all advice about the latest build, and the bytes of its image.
    fn advice(&self) -> (Vec<Value>, u64) {
        let output = self.bench.run(["advise", "--all", "--format=json"]);
        output.success();
        let document: Value = serde_json::from_str(&output.out()).expect("one object");
        let advice = document["advice"].as_array().expect("a list").clone();
        (advice, document["image_bytes"].as_u64().expect("a number"))
    }

    /// Returns the one advice of a rule, and the bytes of the image.
    fn advice_of(&self, code: &str) -> (Value, u64) {
        let (all, bytes) = self.advice();
        let found: Vec<Value> = all.iter().filter(|advice| advice["code"] == code).cloned().collect();
        assert_eq!(found.len(), 1, "{code}: {all:#?}");
        (found[0].clone(), bytes)
    }

    /// Does what an advice says, by its edits alone.
    fn follow(&self, advice: &Value) {
        let mut text = fs::read_to_string(self.bench.work().join("Dockerfile")).expect("a file");
        for edit in advice["edits"].as_array().expect("a list").iter().rev() {
            let place = |name: &str| usize::try_from(edit[name].as_u64().expect("a place")).expect("it is small");
            text.replace_range(place("start")..place("end"), edit["text"].as_str().expect("a text"));
        }
        self.bench.file("Dockerfile", text);
        let mut ignored = fs::read_to_string(self.bench.work().join(".dockerignore")).expect("a file");
        for line in advice["ignore"].as_array().expect("a list") {
            ignored += line.as_str().expect("a line");
            ignored += "\n";
        }
        self.bench.file(".dockerignore", ignored);
    }

    /// Returns the state of the step whose instruction begins so, and how long it ran, in the latest build.
    fn step(&self, start: &str) -> (String, Option<f64>) {
        let output = self.bench.run(["explain", "--format=json"]);
        let document: Value = serde_json::from_str(&output.success().out()).expect("one object");
        let steps = document["steps"].as_array().expect("a list");
        let step = steps.iter().find(|step| step["title"].as_str().is_some_and(|title| title.starts_with(start)));
        let step = step.unwrap_or_else(|| panic!("no step {start}: {steps:#?}"));
        (step["state"].as_str().expect("a state").to_owned(), step["took"].as_f64())
    }
}

/// Builds, follows the advice of one rule, builds again, and compares the image's bytes with what was promised.
fn saves_the_bytes_that_it_says(dockerfile: &str, code: &str) -> Option<Project> {
    let project = Project::new(dockerfile)?;
    project.bench.file(".git/HEAD", "ref").file(".git/pack", vec![3; 90_000]).file(".git/refs/x", "1");
    let (advice, before) = project.build().advice_of(code);
    project.bench.run(["tag", "made", "before"]).success();
    project.follow(&advice);
    let (left, after) = project.build().advice();
    let promised = advice["gain"]["bytes"].as_u64().expect("a number");
    let saved = before - after;
    assert!(promised > 16_384, "{advice:#}");
    assert!(saved >= promised && saved - promised <= TOLERANCE, "{saved} bytes were saved of {promised}: {advice:#}");
    assert!(!left.iter().any(|advice| advice["code"] == code), "there is nothing left to say: {left:#?}");
    Some(project)
}

/// The files that a container sees are the same as before the advice was followed, but for times of directories.
fn sees_the_same(project: &Project) {
    let text = project.bench.run(["diff", "before", "made"]).out();
    let (_, files) = text.split_once("files of the whole image that differ: ").expect("they are listed");
    for line in files.lines().skip(1) {
        assert!(line.contains(": modified ") && !line.contains(','), "{line}\n{text}");
    }
}

#[test]
fn a_cache_mount_keeps_what_a_package_manager_keeps_out_of_the_image() {
    let dockerfile = "FROM tools\nWORKDIR /app\nCOPY package.json ./\nRUN npm ci\n";
    saves_the_bytes_that_it_says(dockerfile, "cache-in-layer");
}

#[test]
fn lists_of_packages_that_one_step_gets_for_another_go_into_a_mount_of_both() {
    let dockerfile = "FROM tools\nRUN apt-get update\nRUN --network=none apt-get install curl\n";
    let Some(project) = saves_the_bytes_that_it_says(dockerfile, "cache-in-layer") else { return };
    let text = fs::read_to_string(project.bench.work().join("Dockerfile")).expect("a file");
    assert_eq!(
        text,
        "FROM tools\nRUN --mount=type=cache,target=/var/lib/apt/lists,sharing=locked --network=none apt-get update && \
         apt-get install curl\n"
    );
}

/// What deletes the lists beside the mount would empty it for the next build.
#[test]
fn what_empties_a_cache_mount_is_taken_out_of_the_lines_to_write() {
    let dockerfile = "FROM tools\nRUN apt-get update && apt-get install curl\n\
                      RUN apt-get update && apt-get install wget && \\\n    rm -rf /var/lib/apt/lists/* && true\n";
    let Some(project) = saves_the_bytes_that_it_says(dockerfile, "cache-in-layer") else { return };
    let text = fs::read_to_string(project.bench.work().join("Dockerfile")).expect("a file");
    let mount = "--mount=type=cache,target=/var/lib/apt/lists,sharing=locked";
    assert_eq!(
        text,
        format!(
            "FROM tools\nRUN {mount} apt-get update && apt-get install curl\n\
             RUN {mount} apt-get update && apt-get install wget && true\n"
        )
    );
}

#[test]
fn an_owner_that_the_copy_sets_is_not_shipped_twice() {
    let dockerfile = "FROM tools\nCOPY src /data\nRUN chown -R 5:6 /data && chmod -R u+x /data\n";
    if let Some(project) = saves_the_bytes_that_it_says(dockerfile, "owner-in-later-layer") {
        sees_the_same(&project);
    }
}

#[test]
fn a_file_that_is_mounted_instead_of_copied_and_deleted_is_not_shipped() {
    let dockerfile = "FROM tools\nCOPY src/large /tmp/\nRUN wc -c /tmp/large > /count && rm -f /tmp/large\n";
    if let Some(project) = saves_the_bytes_that_it_says(dockerfile, "copied-then-deleted") {
        sees_the_same(&project);
    }
}

#[test]
fn a_step_that_deletes_what_it_made_does_not_ship_it() {
    let dockerfile =
        "FROM tools\nRUN head -c 150000 /dev/zero > /scratch && echo 1 > /kept\n\nRUN echo 2 >> /kept && rm /scratch\n";
    if let Some(project) = saves_the_bytes_that_it_says(dockerfile, "deleted-in-later-layer") {
        sees_the_same(&project);
    }
}

#[test]
fn what_the_ignore_file_names_is_not_shipped() {
    let dockerfile = "FROM tools\nWORKDIR /app\nCOPY . .\nRUN ls > /list\n";
    saves_the_bytes_that_it_says(dockerfile, "needless-context");
}

#[test]
fn a_program_without_what_built_it_is_an_image_of_itself() {
    let dockerfile =
        "FROM tools\nCOPY src /src\nENV A=1\nRUN gcc -o /busybox /src/a.c\nEXPOSE 80\nCMD [\"/busybox\", \"env\"]";
    let Some(project) = saves_the_bytes_that_it_says(dockerfile, "build-tool-in-image") else { return };
    let output = project.bench.run(["run", "--rm", "made"]);
    assert!(output.success().out().contains("A=1"), "it starts, and says what it said before");
}

#[test]
fn a_static_program_needs_no_base() {
    let dockerfile = "FROM busybox AS build\nRUN cp /bin/busybox /out\nFROM tools\nCOPY --from=build /out /busybox\n\
                      CMD [\"/busybox\", \"echo\", \"hello\"]\n";
    let Some(project) = saves_the_bytes_that_it_says(dockerfile, "needless-base") else { return };
    assert_eq!(project.bench.run(["run", "--rm", "made"]).success().out(), "hello\n");
}

/// Builds, changes a source file, follows the advice of one rule, changes the file again: then `step` no longer runs, and
/// the time that it took is what was promised.
fn spares_the_step_that_it_says(dockerfile: &str, code: &str, step: &str) -> Option<Project> {
    let project = Project::new(dockerfile)?;
    project.build().bench.file("src/a.c", "int b;");
    project.build();
    let (state, took) = project.step(step);
    assert_eq!(state, "done", "it runs again when a source file changes");
    let (advice, _) = project.advice_of(code);
    let gain = &advice["gain"];
    assert_eq!((gain["seconds"].as_f64(), gain["steps"].as_array().map(Vec::len)), (took, Some(1)), "{advice:#}");
    assert!(gain["bytes"] == 0 && !gain["when"].as_str().expect("a text").is_empty());
    project.follow(&advice);
    project.build().bench.file("src/a.c", "int c;");
    let left = project.build().advice().0;
    assert_eq!(project.step(step).0, "cached", "its result is known when a source file changes");
    assert!(!left.iter().any(|advice| advice["code"] == code), "there is nothing left to say: {left:#?}");
    Some(project)
}

#[test]
fn dependencies_are_not_installed_again_when_only_their_list_is_copied_before() {
    let dockerfile = "FROM tools AS build\nWORKDIR /app\nCOPY --chmod=755 . .\nENV CI=1\nRUN npm ci\nRUN cat src/a.c > out\n\
                      FROM busybox\nCOPY --from=build /app/out /out\n";
    let Some(project) = spares_the_step_that_it_says(dockerfile, "dependencies-after-source", "RUN npm ci") else {
        return;
    };
    let text = fs::read_to_string(project.bench.work().join("Dockerfile")).expect("a file");
    assert_eq!(
        text,
        "FROM tools AS build\nWORKDIR /app\nCOPY --chmod=755 package.json package-lock.json ./\nENV CI=1\nRUN npm ci\n\
         COPY --chmod=755 . .\nRUN cat src/a.c > out\nFROM busybox\nCOPY --from=build /app/out /out\n"
    );
}

#[test]
fn packages_are_not_installed_again_when_they_come_before_the_copy() {
    let dockerfile =
        "FROM tools\nCOPY src /src\nWORKDIR /src\nRUN apt-get update && apt-get install curl\nRUN cat a.c > /out\n";
    spares_the_step_that_it_says(dockerfile, "packages-after-copy", "RUN apt-get");
}

#[test]
fn who_does_it_right_gets_no_advice() {
    let right = [
        "FROM tools\nRUN --mount=type=cache,target=/var/lib/apt/lists,sharing=locked apt-get update && apt-get install curl\n\
         COPY --chown=5:6 src /data\nRUN head -c 150000 /dev/zero > /scratch && rm /scratch\n",
        "FROM tools\nRUN --mount=type=bind,source=src/large,target=/tmp/large wc -c /tmp/large > /count\n",
        "FROM tools AS build\nWORKDIR /app\nCOPY package.json package-lock.json ./\n\
         RUN --mount=type=cache,target=/root/.npm npm ci\nCOPY . .\nRUN gcc -o /busybox src/a.c\n\
         FROM scratch\nCOPY --from=build /busybox /busybox\nCMD [\"/busybox\", \"env\"]\n",
    ];
    for dockerfile in right {
        let Some(project) = Project::new(dockerfile) else { return };
        let (all, _) = project.build().advice();
        assert!(all.is_empty(), "{dockerfile}\n{all:#?}");
        let output = project.bench.run(["advise"]);
        assert_eq!(output.success().out(), "No change of Dockerfile that is known here would save much.\n");
    }
}

#[test]
fn advice_is_shown_at_the_words_of_the_file_with_the_lines_to_write() {
    let dockerfile = "FROM tools\nWORKDIR /app\nCOPY . .\nRUN npm ci\nCOPY src/large /tmp/\n\
                      RUN cp /tmp/large /kept && rm /tmp/large\nRUN head -c 60000 /dev/zero > /a\nRUN rm /a\n";
    let Some(project) = Project::new(dockerfile) else { return };
    let output = project.build().bench.run(["advise"]);
    let text = output.success().out();
    for part in [
        "advice[copied-then-deleted]: `large` is shipped, though it is deleted again\n --> Dockerfile:5:1\n  |\n\
         5 | COPY src/large /tmp/\n  | ^^^^^^^^^^^^^^^^^^^^ stays in the layer of this step\n\
         6 | RUN cp /tmp/large /kept && rm /tmp/large\n  |                            ------------- only hides it\n\
         gain: 123kB of the image, ",
        "do: Mount the file for the step that needs it: then it is in no layer.\nremove line 5\nin place of line 6 write:\n  \
         | RUN --mount=type=bind,source=/src/large,target=/tmp/large cp /tmp/large /kept\n",
        "\n1 more would save less: see `stave advise --all`.\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(text.matches("\nadvice[").count() + 1, 3, "{text}");
}

#[test]
fn there_is_no_advice_about_what_made_nothing() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["advise"]).exit(1).complains("the history has no build");
    bench.file("Dockerfile", "FROM busybox\nRUN false\n");
    bench.run(["build", "."]).exit(1);
    bench.run(["advise"]).exit(1).complains("made no image, and advice is about what was made");
    bench.run(["advise", "zz"]).exit(1);
    // What failed since is no reason to say nothing of what was made before.
    bench.file("Dockerfile", "FROM busybox\nRUN true\n");
    bench.run(["build", "."]).success();
    let made = bench.run(["builds", "ls", "-n1", "--no-trunc", "--format={{.ID}}"]).success().line();
    bench.file("Dockerfile", "FROM busybox\nRUN false\n");
    bench.run(["build", "."]).exit(1);
    let output = bench.run(["advise"]);
    assert_eq!(
        output.success().stderr,
        format!("note: this is about the build {made}, the latest that made an image\n")
    );
}

/// What the anatomy of an image says can be seen is what one layer of all its files has.
#[test]
fn what_is_shipped_for_nothing_is_what_squashing_saves() {
    let dockerfile = "FROM tools\nCOPY src /data\nCOPY src /data/deep/down\nRUN chown -R 5:6 /data\n\
                      RUN rm -r /data/deep && mkdir -p /data/deep/new && ln /bin/busybox /bin/again\nRUN rm /data/large\n";
    let Some(project) = Project::new(dockerfile) else { return };
    let document = |project: &Project| -> Value {
        let output = project.bench.run(["advise", "--format=json"]);
        serde_json::from_str(&output.success().out()).expect("one object")
    };
    let image = document(project.build());
    let number = |document: &Value, name: &str| document[name].as_u64().expect("a number");
    project.bench.run(["build", "--squash-all", "-t", "squashed", "."]).success();
    let squashed = document(&project);
    assert!(number(&image, "wasted_bytes") > 240_000, "{image:#}");
    assert_eq!(number(&squashed, "wasted_bytes"), 0);
    // The tars of layers have an end of 1024 bytes each, and that of the base another form.
    let layers = 5 + 2;
    let without_ends = number(&image, "image_bytes") - 1024 * layers;
    let saved = without_ends - (number(&squashed, "image_bytes") - 1024);
    assert!(saved.abs_diff(number(&image, "wasted_bytes")) <= 16 * 1024, "{saved}: {image:#} {squashed:#}");
    assert_eq!(number(&image, "visible_bytes") + 1024, number(&squashed, "image_bytes"));
}
