//! A base that the image's one program does not need.

use stave_dockerfile::ast::{Command, FlagName, InstructionKind as Kind};

use super::label;
use super::tools::starts;
use crate::advice::{Advice, Code, Edit, Gain};
use crate::subject::{Site, Subject};

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_target(subject, sites).into_iter().collect()
}

/// Returns the advice for an image that is files of other stages on a base, of which a static program is started.
fn of_target(subject: &Subject<'_>, all: &[Vec<Site<'_>>]) -> Option<Advice> {
    let target = subject.target()?;
    let (sites, stage) = (&all[target], &subject.file.stages[target]);
    let (program, is_static) = subject.program?;
    let base = &stage.base;
    let is_stage = subject.file.stages[..target]
        .iter()
        .any(|other| other.name.as_ref().is_some_and(|name| name.name.eq_ignore_ascii_case(base.as_str())));
    let needs_base = |site: &Site<'_>| match &site.instruction.kind {
        Kind::Run(_) | Kind::Healthcheck(_) | Kind::Onbuild(_) | Kind::Unreadable | Kind::Shell(_) => true,
        Kind::Cmd(command) | Kind::Entrypoint(command) => matches!(command, Command::Shell(_)),
        Kind::User(user) => !user.as_str().bytes().all(|byte| byte.is_ascii_digit() || byte == b':'),
        Kind::Copy(_) | Kind::Add(_) => {
            let owner = site.instruction.head.flag(FlagName::Chown).map(|flag| flag.value.as_str());
            owner.is_some_and(|owner| !owner.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'))
        }
        _ => false,
    };
    if !is_static || is_stage || base.as_str() == "scratch" || sites.iter().any(needs_base) {
        return None;
    }
    let start = sites.iter().find(|site| starts(site) == Some(program) && program.starts_with('/'))?;
    let is_copied = |site: &Site<'_>| {
        let share = subject.image_layer(site).and_then(|layer| layer.share(program));
        site.copy().is_some() && share.is_some_and(|share| share.visible > 0)
    };
    let copied = sites.iter().find(|site| is_copied(site))?;
    let of_base = |layer: &&stave_anatomy::Layer| matches!(layer.made, Some(stave_anatomy::Made::Base { .. }));
    let bytes: u64 = subject.image?.layers.iter().filter(of_base).map(|layer| layer.bytes).sum();
    Some(Advice {
        code: Code::NeedlessBase,
        message: format!("the image's program needs nothing of `{}` to be loaded", base.as_str()),
        labels: vec![
            label(base.span(), "all of it is shipped", true),
            label(copied.span(), "brings a program without any library", false),
            label(start.span(), "starts it", false),
        ],
        proposal: "Begin the image with nothing.".to_owned(),
        edits: vec![Edit::replace(base.span(), "scratch".to_owned())],
        ignore: Vec::new(),
        gain: Gain { bytes, ..Gain::default() },
        evidence: vec![format!("The base has {bytes} bytes, and `{program}` is linked statically.")],
        condition: Some(
            "The program may read no file of the base when it runs, such as certificates or time zones, and nobody may need \
             a shell in the container."
                .to_owned(),
        ),
    })
}
