//! What a session has beside the step's world, in a directory that nothing else shows: the command ready to run again,
//! what a shell reads when it starts, and a shell of stave's own where the image has none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use stave_sandbox::{MountSource, StepMount};
use stave_store::{LayerId, Lease, WorkDir};
use stave_tree::Kind as FileKind;

use super::description::{Described, quoted};
use crate::engine::Engine;
use crate::error::EngineError;

/// Where the tools are shown.
pub(super) const PLACE: &str = "/.stave";
/// The script that runs the step's command again.
pub(super) const AGAIN: &str = "/.stave/again";
/// Stave's own shell.
const OWN_SHELL: &str = "/.stave/sh";

/// Where a shell may be, the richest first.
const SHELLS: [&str; 7] =
    ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/ash", "/busybox/sh"];

/// The shell of stave's own: a program without libraries, made with stave.
static STATIC_SHELL: &[u8] = include_bytes!(env!("STAVE_STATIC_SHELL"));

/// Which shell a session has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shell {
    /// One of the image, or stave's own where it has none.
    #[default]
    Any,
    /// Stave's own.
    Own,
    /// This program of the image.
    Program(String),
}

/// A session's tools, and how its shell is started.
pub(super) struct Tools {
    /// Path of the shell.
    pub(super) shell: String,
    /// Its arguments for a person at a terminal.
    pub(super) interactive: Vec<String>,
    /// What it must have in its environment to read its first commands.
    pub(super) env: Option<String>,
    work: WorkDir,
}

impl Tools {
    /// Makes the tools for a step in a state with these layers.
    pub(super) fn make(
        engine: &Engine,
        lease: &Lease,
        (step, layers): (&Described, &[LayerId]),
        wanted: &Shell,
    ) -> Result<Self, EngineError> {
        let shell = match wanted {
            Shell::Any => in_image(engine, layers)?.unwrap_or_else(|| OWN_SHELL.to_owned()),
            Shell::Own => OWN_SHELL.to_owned(),
            Shell::Program(path) => path.clone(),
        };
        let work = lease.work_dir()?;
        let directory = work.path().join("diff");
        if shell == OWN_SHELL {
            write(&directory, "sh", STATIC_SHELL, 0o755)?;
        }
        write(&directory, "again", again(step, &shell).as_bytes(), 0o755)?;
        let line = step.operation.typed().unwrap_or_else(|| "again".to_owned());
        write(&directory, "history", format!("{line}\n").as_bytes(), 0o644)?;
        let kind = match shell.rsplit('/').next() {
            _ if shell == OWN_SHELL => Kind::Own,
            Some("bash") => Kind::Bash,
            _ => Kind::Posix,
        };
        write(&directory, "rc", first_commands(step, &line, kind).as_bytes(), 0o644)?;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let rc = format!("{PLACE}/rc");
        let (interactive, env) = if kind == Kind::Bash {
            (words(&[&shell, "--noprofile", "--rcfile", &rc, "-i"]), None)
        } else {
            (words(&[&shell, "-i"]), Some(format!("ENV={rc}")))
        };
        Ok(Self { shell, interactive, env, work })
    }

    /// Whether the shell is not the image's.
    pub(super) fn is_own(&self) -> bool {
        self.shell == OWN_SHELL
    }

    /// Returns what shows them.
    pub(super) fn mount(&self) -> StepMount {
        let directory = self.work.diff_rel_path();
        let source = MountSource::Directory { directory, path: String::new(), writable: false };
        StepMount::new(PLACE.to_owned(), source)
    }
}

/// Whether an image has a shell.
pub(super) fn has_shell(engine: &Engine, layers: &[LayerId]) -> Result<bool, EngineError> {
    Ok(in_image(engine, layers)?.is_some())
}

/// Returns the first shell that an image has.
fn in_image(engine: &Engine, layers: &[LayerId]) -> Result<Option<String>, EngineError> {
    let files = engine.layers(layers)?;
    let is_program = |path: &str| {
        let found = files.resolve(path.as_bytes()).and_then(|path| files.metadata(&path));
        matches!(found, Ok(Some(metadata)) if metadata.kind == FileKind::File && metadata.mode & 0o111 != 0)
    };
    Ok(SHELLS.into_iter().find(|path| is_program(path)).map(str::to_owned))
}

fn write(directory: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), EngineError> {
    let path = directory.join(name);
    std::fs::write(&path, content)
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)))
        .map_err(|source| EngineError::io("write", path, source))
}

/// Returns the script that runs a step's command again, where it ran and as it ran.
fn again(step: &Described, shell: &str) -> String {
    let operation = &step.operation;
    let words: Vec<String> = operation.args.iter().map(|word| quoted(word)).collect();
    if words.is_empty() {
        let said = quoted(&format!("`{}` is no command: there is nothing to run again", step.title));
        return format!("#!{shell}\necho {said} >&2\nexit 1\n");
    }
    format!("#!{shell}\ncd {} || exit\nexec {}\n", quoted(&operation.cwd), words.join(" "))
}

/// Returns what an interactive shell reads first: afterwards its environment is the step's, `again` is a command, and the
/// step's own command is the first line of its history.
fn first_commands(step: &Described, line: &str, kind: Kind) -> String {
    let prompt = format!("[{} {}/{}] ", step.stage, step.number, step.of);
    // A variable of this name may be the step's own, too.
    let own = step.operation.env.iter().rev().find_map(|entry| entry.strip_prefix("ENV="));
    let restored = own.map_or_else(|| "unset ENV".to_owned(), |value| format!("export ENV={}", quoted(value)));
    let function = format!("{restored}\nagain() {{ {AGAIN}; }}\n");
    match kind {
        Kind::Bash => {
            let prompt = quoted(&format!("{prompt}\\w \\$ "));
            format!("{function}unset HISTFILE\nhistory -s -- {}\nPS1={prompt}\n", quoted(line))
        }
        Kind::Posix => format!("{function}HISTFILE={PLACE}/history\nPS1={}'$PWD # '\n", quoted(&prompt)),
        Kind::Own => format!("{restored}\nalias again={AGAIN}\nPS1={}'$PWD # '\n", quoted(&prompt)),
    }
}

/// What a shell understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bash,
    Posix,
    Own,
}
