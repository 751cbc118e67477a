//! The tree as text: one line for each instruction, its parts below it. Spans are left to the property tests.

use std::fmt::Write as _;

use stave_dockerfile::Text;
use stave_dockerfile::ast::{
    Command, Copy, Dockerfile, Flag, Head, Healthcheck, Heredoc, Instruction, InstructionKind, Pairs, Run, Source,
};

/// Writes a whole file.
pub(crate) fn file(file: &Dockerfile) -> String {
    let mut out = String::new();
    for directive in &file.directives {
        line(&mut out, 0, &format!("{:?} {:?}", directive.kind, directive.value.as_str()));
    }
    if file.escape != '\\' {
        line(&mut out, 0, &format!("escape {:?}", file.escape));
    }
    for instruction in &file.global_args {
        self::instruction(&mut out, 0, instruction);
    }
    for stage in &file.stages {
        let name = stage.name.as_ref().map(|name| format!(" as {:?}", name.name)).unwrap_or_default();
        line(&mut out, 0, &format!("From {}{name}", word(&stage.base)));
        head(&mut out, 1, &stage.head);
        for instruction in &stage.instructions {
            self::instruction(&mut out, 1, instruction);
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    writeln!(out, "{:1$}{text}", "", depth * 2).expect("memory");
}

fn word(text: &Text) -> String {
    if text.len() > 200 {
        format!("{:?}... {} bytes", &text.as_str()[..20], text.len())
    } else {
        format!("{:?}", text.as_str())
    }
}

fn list(words: &[Text]) -> String {
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn head(out: &mut String, depth: usize, head: &Head) {
    for comment in &head.comments {
        line(out, depth, &format!("# {}", comment.as_str()));
    }
    for Flag { name, value, .. } in &head.flags {
        line(out, depth, &format!("--{} {}", name.as_str(), word(value)));
    }
}

fn instruction(out: &mut String, depth: usize, instruction: &Instruction) {
    let inner = depth + 1;
    match &instruction.kind {
        InstructionKind::Add(found) => copy(out, depth, "Add", found),
        InstructionKind::Copy(found) => copy(out, depth, "Copy", found),
        InstructionKind::Arg(declarations) => {
            line(out, depth, "Arg");
            for found in declarations {
                let default = found.default.as_ref().map(|default| format!(" = {}", word(default))).unwrap_or_default();
                line(out, inner, &format!("{}{default}", word(&found.name)));
            }
        }
        InstructionKind::Cmd(found) => line(out, depth, &format!("Cmd {}", command(found))),
        InstructionKind::Entrypoint(found) => line(out, depth, &format!("Entrypoint {}", command(found))),
        InstructionKind::Env(found) => pairs(out, depth, "Env", found),
        InstructionKind::Label(found) => pairs(out, depth, "Label", found),
        InstructionKind::Expose(found) => line(out, depth, &format!("Expose {}", list(found))),
        InstructionKind::Healthcheck(found) => healthcheck(out, depth, found),
        InstructionKind::Maintainer(found) => line(out, depth, &format!("Maintainer {}", word(found))),
        InstructionKind::Onbuild(found) => {
            line(out, depth, &format!("Onbuild {:?}", found.text));
            self::instruction(out, inner, &found.trigger);
        }
        InstructionKind::Run(found) => run(out, depth, found),
        InstructionKind::Shell(found) => line(out, depth, &format!("Shell {}", list(found))),
        InstructionKind::Stopsignal(found) => line(out, depth, &format!("Stopsignal {}", word(found))),
        InstructionKind::User(found) => line(out, depth, &format!("User {}", word(found))),
        InstructionKind::Volume(found) => line(out, depth, &format!("Volume {}", list(found))),
        InstructionKind::Workdir(found) => line(out, depth, &format!("Workdir {}", word(found))),
        InstructionKind::Unreadable => line(out, depth, &format!("Unreadable {}", instruction.head.keyword.as_str())),
    }
    head(out, inner, &instruction.head);
}

fn command(command: &Command) -> String {
    match command {
        Command::Exec(arguments) => format!("exec {}", list(arguments)),
        Command::Shell(text) => format!("shell {}", word(text)),
    }
}

fn run(out: &mut String, depth: usize, run: &Run) {
    line(out, depth, &format!("Run {}", command(&run.command)));
    for mount in &run.mounts {
        let options = mount.options.iter().map(|option| match &option.value {
            Some(value) => format!("{:?}={}", option.key, word(value)),
            None => format!("{:?}", option.key),
        });
        line(out, depth + 1, &format!("mount {}", options.collect::<Vec<_>>().join(" ")));
    }
    for found in &run.heredocs {
        heredoc(out, depth + 1, found);
    }
    if !run.heredocs.is_empty() {
        line(out, depth + 1, &format!("script {:?}", run.script().expect("a heredoc is for the shell")));
    }
}

fn copy(out: &mut String, depth: usize, name: &str, copy: &Copy) {
    line(out, depth, &format!("{name} to {}", word(&copy.dest)));
    for source in &copy.sources {
        match source {
            Source::Path(path) => line(out, depth + 1, &format!("from {}", word(path))),
            Source::Heredoc(found) => heredoc(out, depth + 1, found),
        }
    }
}

fn heredoc(out: &mut String, depth: usize, heredoc: &Heredoc) {
    let Heredoc { name, descriptor, expand, .. } = heredoc;
    let expand = if *expand { "expanded" } else { "literal" };
    line(out, depth, &format!("heredoc {descriptor} {name:?} {expand} {:?}", heredoc.content().as_str()));
}

fn pairs(out: &mut String, depth: usize, name: &str, pairs: &Pairs) {
    line(out, depth, &format!("{name}{}", if pairs.legacy { " legacy" } else { "" }));
    for pair in &pairs.pairs {
        line(out, depth + 1, &format!("{} = {}", word(&pair.name), word(&pair.value)));
    }
}

fn healthcheck(out: &mut String, depth: usize, health: &Healthcheck) {
    match health {
        Healthcheck::None => line(out, depth, "Healthcheck none"),
        Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } => {
            line(out, depth, &format!("Healthcheck {}", self::command(command)));
            let numbers = [interval, timeout, start_period, start_interval, retries];
            line(out, depth + 1, &format!("{numbers:?}"));
        }
    }
}

/// Returns every text of the tree.
#[allow(dead_code, reason = "each test binary compiles this module, and the corpus has no use for this")]
pub(crate) fn texts(file: &Dockerfile) -> Vec<&Text> {
    let mut found: Vec<&Text> = file.directives.iter().map(|directive| &directive.value).collect();
    for instruction in &file.global_args {
        instruction_texts(instruction, &mut found);
    }
    for stage in &file.stages {
        found.push(&stage.base);
        found.extend(stage.name.as_ref().map(|name| &name.written));
        head_texts(&stage.head, &mut found);
        for instruction in &stage.instructions {
            instruction_texts(instruction, &mut found);
        }
    }
    found
}

fn head_texts<'a>(head: &'a Head, found: &mut Vec<&'a Text>) {
    found.extend([&head.keyword, &head.line]);
    found.extend(&head.comments);
    found.extend(head.flags.iter().map(|flag| &flag.value));
}

fn instruction_texts<'a>(instruction: &'a Instruction, found: &mut Vec<&'a Text>) {
    head_texts(&instruction.head, found);
    for heredoc in instruction.heredocs() {
        found.extend([&heredoc.marker, &heredoc.body]);
    }
    match &instruction.kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => {
            found.push(&copy.dest);
            found.extend(copy.sources.iter().filter_map(|source| match source {
                Source::Path(path) => Some(path),
                Source::Heredoc(_) => None,
            }));
        }
        InstructionKind::Arg(declarations) => {
            found.extend(declarations.iter().map(|found| &found.name));
            found.extend(declarations.iter().filter_map(|found| found.default.as_ref()));
        }
        InstructionKind::Cmd(command)
        | InstructionKind::Entrypoint(command)
        | InstructionKind::Run(Run { command, .. })
        | InstructionKind::Healthcheck(Healthcheck::Command { command, .. }) => match command {
            Command::Exec(arguments) => found.extend(arguments),
            Command::Shell(line) => found.push(line),
        },
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            found.extend(pairs.pairs.iter().flat_map(|pair| [&pair.name, &pair.value]));
        }
        InstructionKind::Expose(words) | InstructionKind::Shell(words) | InstructionKind::Volume(words) => {
            found.extend(words);
        }
        InstructionKind::Maintainer(word)
        | InstructionKind::Stopsignal(word)
        | InstructionKind::User(word)
        | InstructionKind::Workdir(word) => found.push(word),
        InstructionKind::Onbuild(onbuild) => instruction_texts(&onbuild.trigger, found),
        InstructionKind::Healthcheck(Healthcheck::None) | InstructionKind::Unreadable => {}
    }
}
