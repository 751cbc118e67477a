//! A small project of several stages, as its files and the parts of its Dockerfile that edits change.

use super::Random;
use stave_testkit::Bench;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The project. What is not here is in its directory.
#[derive(Debug, Clone)]
pub(super) struct Project {
    pub(super) dir: PathBuf,
    /// A comment in the Dockerfile.
    pub(super) comment: String,
    /// The text of a heredoc that becomes a file, and of one that is a script.
    pub(super) inline: String,
    pub(super) script: String,
    /// Build arguments: read by a step; by the label only; by a stage that is not needed.
    pub(super) used: String,
    pub(super) labelled: String,
    pub(super) unread: String,
    pub(super) env: String,
    pub(super) ignore: Vec<String>,
    pub(super) exclude: &'static str,
    pub(super) chmod: &'static str,
    /// Whether the whole context is copied, too.
    pub(super) whole: bool,
    /// What the target is called.
    pub(super) target: &'static str,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    /// Nothing if it failed.
    pub(super) image: Option<String>,
    /// Steps that ran.
    pub(super) ran: u64,
    pub(super) said: String,
}

pub(super) const NAMES: [&str; 9] = ["a", "b.txt", "c.md", "d.txt", "with blank", "-dash", "é", "UPPER.TXT", ".hidden"];
pub(super) const DIRS: [&str; 4] = ["", "d", "e", "d/f"];

impl Project {
    /// Makes one in `dir`, in place of whatever is there.
    pub(super) fn make(dir: &Path, random: &mut Random) -> Self {
        clear(dir);
        for directory in DIRS {
            fs::create_dir_all(dir.join("src").join(directory)).expect("a writable bench");
        }
        for _ in 0..4 + random.below(5) {
            let path = dir.join("src").join(random.pick(&DIRS)).join(random.pick(&NAMES));
            fs::write(path, content(random)).expect("a writable bench");
        }
        symlink(random.pick(&NAMES), dir.join("src/link")).expect("a writable bench");
        fs::create_dir(dir.join("src/skip")).expect("a writable bench");
        for path in ["app.cfg", "notread.txt", "src/skip/a", "src/x.log"] {
            fs::write(dir.join(path), content(random)).expect("a writable bench");
        }
        let project = Self {
            dir: dir.to_owned(),
            comment: "first".to_owned(),
            inline: "inline".to_owned(),
            script: "echo script".to_owned(),
            used: "used".to_owned(),
            labelled: "labelled".to_owned(),
            unread: "unread".to_owned(),
            env: "env".to_owned(),
            ignore: vec!["**/*.log".to_owned(), "src/skip".to_owned()],
            exclude: "*.md",
            chmod: "640",
            whole: random.below(4) == 0,
            target: if random.below(4) == 0 { "gen" } else { "final" },
        };
        project.write();
        project
    }

    /// Writes the files that are made of the fields.
    pub(super) fn write(&self) {
        fs::write(self.dir.join("Dockerfile"), self.dockerfile()).expect("a writable bench");
        fs::write(self.dir.join(".dockerignore"), self.ignore.join("\n") + "\n").expect("a writable bench");
    }

    pub(super) fn dockerfile(&self) -> String {
        let Self { comment, inline, script, env, exclude, chmod, .. } = self;
        let mut text = format!("# {comment}\n");
        let listing = "{ find . -exec stat -c '%N %a %u:%g %F' {} +; find . -type f -exec md5sum {} +; } | sort";
        write!(
            text,
            r#"FROM busybox AS base
WORKDIR /src
COPY src .
RUN {listing} > /manifest
FROM busybox AS pick
COPY --chmod={chmod} app.cfg /pick/cfg
COPY --chown=3:4 src/*.txt /pick/txt/
COPY --exclude={exclude} src /pick/some/
FROM base AS gen
ARG USED
ENV FROM_ENV={env}
RUN <<END
{script}
echo "$USED $FROM_ENV" >> /used
END
RUN --mount=type=bind,from=pick,source=/pick,target=/m cd /m && {listing} > /mounted
RUN --mount=type=bind,source=src,target=/c,rw cd /c && touch written && rm written && {listing} > /context
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t echo >> /cache/log && test -s /cache/log && echo x > /t/x
FROM busybox AS unneeded
ARG UNREAD
COPY notread.txt /
RUN echo $UNREAD
FROM busybox AS final
COPY --from=base /manifest /manifest
COPY --from=base /src /src
COPY --from=gen /used /mounted /context /gen/
COPY --from=pick /pick /pick
COPY --link app.cfg /linked/
COPY <<END /inline
{inline}
END
"#
        )
        .expect("memory");
        if self.whole {
            text.push_str("COPY . /whole/\n");
        }
        text.push_str("ARG LABELLED\nLABEL label=$LABELLED\n");
        text
    }

    /// Whether the ignore file is as it was at first.
    pub(super) fn ignores_logs_and_skipped(&self) -> bool {
        self.ignore == ["**/*.log", "src/skip"]
    }

    pub(super) fn build_args(&self) -> Vec<String> {
        let mut args = vec!["--target".to_owned(), self.target.to_owned()];
        for (name, value) in [("USED", &self.used), ("LABELLED", &self.labelled), ("UNREAD", &self.unread)] {
            args.extend(["--build-arg".to_owned(), format!("{name}={value}")]);
        }
        args
    }
}

/// Builds what is in the bench's working directory.
pub(super) fn build(bench: &Bench, args: &[String], fresh: bool) -> Built {
    let mut command = bench.command(["build", "--progress=rawjson"]);
    if fresh {
        command.arg("--no-cache");
    }
    command.args(args).arg(".");
    let output = bench.finish(command);
    assert!((0..=3).contains(&output.code), "{output}");
    let built = output.stderr.lines().rev().find_map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        (event["state"] == "built").then_some(event)
    });
    let said = if output.code == 0 { String::new() } else { output.stderr.clone() };
    match built {
        Some(event) => {
            let image = event["images"][0]["image"].as_str().expect("a built image has an id").to_owned();
            Built { image: Some(image), ran: event["ran"].as_u64().expect("a number of steps"), said }
        }
        None => Built { image: None, ran: 0, said },
    }
}

/// Removes what is in a directory.
pub(super) fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if entry.file_type().expect("a file of the test").is_dir() {
            fs::remove_dir_all(path).expect("a directory of the test");
        } else {
            fs::remove_file(path).expect("a file of the test");
        }
    }
}

/// A few bytes; often as many as others have.
pub(super) fn content(random: &mut Random) -> String {
    let length = *random.pick(&[0, 1, 16, 16, 16, 16, 300, 5000]);
    (0..length).map(|_| char::from(b'a' + u8::try_from(random.below(26)).expect("a letter"))).collect()
}

/// All of a kind below `src`, sorted, but for what is ignored from the start.
pub(super) fn found(dir: &Path, is_wanted: impl Fn(fs::FileType) -> bool) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.join("src")]);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a file of the test"));
            if path.ends_with("src/skip") || path.extension().is_some_and(|extension| extension == "log") {
                continue;
            }
            if kind.is_dir() {
                todo.push(path.clone());
            }
            if is_wanted(kind) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(super) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of the test");
}
