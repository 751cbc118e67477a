//! What builds a program, in the image that runs it.

use stave_dockerfile::Text;
use stave_dockerfile::ast::{Command, InstructionKind};

use super::label;
use crate::advice::{Advice, Code, Edit, Gain};
use crate::subject::{LayerOf, Site, Subject, is_below, workdir};

/// Tools, and a path that gives each away.
const TOOLS: &[(&str, &[&str])] = &[
    ("Go", &["/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/usr/bin/go"]),
    ("Rust", &["/usr/local/cargo/bin/rustc", "/usr/local/cargo/bin/cargo", "/usr/bin/rustc", "/root/.cargo/bin/rustc"]),
    ("a C compiler", &["/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/clang", "/usr/bin/c++"]),
    ("make", &["/usr/bin/make"]),
    ("CMake", &["/usr/bin/cmake"]),
];

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_target(subject, sites).into_iter().collect()
}

/// Returns the advice for the image's stage, if it builds the one program that the image starts.
fn of_target(subject: &Subject<'_>, all: &[Vec<Site<'_>>]) -> Option<Advice> {
    let target = subject.target().filter(|target| target + 1 == subject.file.stages.len())?;
    let (sites, stage) = (&all[target], &subject.file.stages[target]);
    let image = subject.image?;
    let (program, is_static) = subject.program?;
    let tools: Vec<&str> = TOOLS
        .iter()
        .filter(|(_, paths)| paths.iter().any(|path| is_visible(image, path)))
        .map(|(name, _)| *name)
        .collect();
    let start = sites.iter().rev().find(|site| starts(site).is_some())?;
    if tools.is_empty() || !is_static || !sites.iter().any(|site| starts(site) == Some(program)) {
        return None;
    }
    // The program is what a step made, not what the base has.
    let maker = sites.iter().find(|site| {
        let made = subject.image_layer(site).and_then(|layer| visible_file(&layer, program));
        matches!(site.instruction.kind, InstructionKind::Run(_)) && made.is_some()
    })?;
    let kept = visible_file(&subject.image_layer(maker)?, program)?;
    let lines = new_stage(subject, sites, program)?;
    let name = stage.name.as_ref().map_or("build", |name| name.name.as_str());
    if stage.name.is_none()
        && subject.file.stages.iter().any(|stage| stage.name.as_ref().is_some_and(|of| of.name == name))
    {
        return None;
    }
    let mut edits: Vec<Edit> = Vec::new();
    if stage.name.is_none() {
        edits.push(Edit::insert(stage.base.span().end, format!(" AS {name}")));
    }
    let moved =
        sites.iter().filter(|site| site.is_metadata()).map(|site| Edit::remove_lines(subject.text(), site.span()));
    edits.extend(moved);
    let copied = format!("FROM scratch\nCOPY --from={name} {program} {program}\n{lines}");
    let end = subject.text().len();
    let glue = if subject.text().ends_with('\n') { "\n" } else { "\n\n" };
    edits.push(Edit::insert(u32::try_from(end).ok()?, format!("{glue}{copied}")));
    let shipped: u64 = image.layers.iter().map(|layer| layer.bytes).sum();
    let parents = program.matches('/').count() as u64 - 1;
    Some(Advice {
        code: Code::BuildToolInImage,
        message: format!("the image has {} and all else that built its program", tools.join(", ")),
        labels: vec![
            label(stage.base.span(), "all of it is shipped", true),
            label(start.span(), "starts a program that needs no other file to be loaded", false),
        ],
        proposal: format!("Make a stage of it, and an image of `{program}` alone."),
        edits,
        ignore: Vec::new(),
        // The new layer has the program, its directories and an end.
        gain: Gain { bytes: shipped.saturating_sub(kept + parents * 512 + 1024), ..Gain::default() },
        evidence: vec![format!("The image has {shipped} bytes, the program {kept} of them.")],
        condition: Some(
            "The program may read no other file of the image when it runs, such as certificates, time zones or templates: \
             each needs a `COPY` of its own."
                .to_owned(),
        ),
    })
}

/// Whether the image shows something at a path.
pub(super) fn is_visible(image: &stave_anatomy::Anatomy, path: &str) -> bool {
    image.find(path).is_some_and(|place| place.totals().visible > 0)
}

/// Returns the bytes of a file that a layer has and the image shows.
fn visible_file(layer: &LayerOf<'_>, path: &str) -> Option<u64> {
    let share = layer.share(path)?;
    (share.visible > 0).then_some(share.visible)
}

/// Returns the program that an instruction starts, if it says so in the exec form.
pub(super) fn starts<'a>(site: &Site<'a>) -> Option<&'a str> {
    let (InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command)) = &site.instruction.kind else {
        return None;
    };
    let Command::Exec(words) = command else { return None };
    words.first().map(Text::as_str)
}

/// Returns what the new stage says of itself: the same as the old one, as far as it can without a shell and without users.
fn new_stage(subject: &Subject<'_>, sites: &[Site<'_>], program: &str) -> Option<String> {
    let mut lines = String::new();
    for index in 0..sites.len() {
        if !is_kept(sites, index, program)? {
            continue;
        }
        let text = &subject.text()[sites[index].span().range()];
        // What an argument of the stage says is not known to another stage.
        if text.contains('$') {
            return None;
        }
        lines.push_str(text);
        lines.push('\n');
    }
    Some(lines)
}

/// Whether the new stage has an instruction as well; nothing if it cannot do without it and cannot have it.
fn is_kept(sites: &[Site<'_>], index: usize, program: &str) -> Option<bool> {
    use InstructionKind as Kind;
    match &sites[index].instruction.kind {
        // For a command in the shell form there is no shell.
        Kind::Cmd(Command::Exec(_))
        | Kind::Entrypoint(Command::Exec(_))
        | Kind::Env(_)
        | Kind::Expose(_)
        | Kind::Label(_)
        | Kind::Maintainer(_)
        | Kind::Stopsignal(_) => Some(true),
        Kind::Arg(_) | Kind::Shell(_) | Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) => Some(false),
        // Nor are there users with names.
        Kind::User(user) => user.as_str().bytes().all(|byte| byte.is_ascii_digit() || byte == b':').then_some(true),
        Kind::Workdir(_) => Some(is_below(program, &workdir(sites, index + 1)?)),
        Kind::Cmd(_)
        | Kind::Entrypoint(_)
        | Kind::Healthcheck(_)
        | Kind::Onbuild(_)
        | Kind::Volume(_)
        | Kind::Unreadable => None,
    }
}
