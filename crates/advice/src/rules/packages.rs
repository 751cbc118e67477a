//! Packages of the system that are installed after something was copied that they do not need.

use stave_dockerfile::ast::{FlagName, InstructionKind};

use super::{label, measured, of_steps, spared};
use crate::advice::{Advice, Code, Edit};
use crate::shell::{Simple, chain};
use crate::subject::{Site, Subject};

/// Directories in which a copied file can have to do with packages: sources, keys, certificates, hooks, libraries.
const SYSTEM: [&str; 8] = ["/etc", "/usr", "/var", "/lib", "/lib64", "/bin", "/sbin", "/root"];

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_step)
}

fn of_step(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let run = &sites[index];
    let commands = chain(run.shell()?.as_str())?;
    let time = run.time()?;
    let flags = &run.instruction.head.flags;
    let is_cache = |flag: &stave_dockerfile::ast::Flag| {
        flag.name == FlagName::Mount
            && flag.value.as_str().contains("type=cache")
            && !flag.value.as_str().contains("from=")
    };
    if !commands.iter().all(is_of_packages) || !commands.iter().any(installs) || !flags.iter().all(is_cache) {
        return None;
    }
    let first = (0..index).rev().take_while(|before| stays(subject, &sites[*before])).last()?;
    let copies: Vec<&Site<'_>> = sites[first..index].iter().filter(|site| is_copied(site)).collect();
    // Above what is not copied nothing is gained.
    let target = sites[first..index].iter().find(|site| is_copied(site))?;
    let text = subject.text();
    let instruction = &text[run.span().range()];
    let edits =
        vec![Edit::insert(target.span().start, format!("{instruction}\n")), Edit::remove_lines(text, run.span())];
    let mut labels = vec![label(run.span(), "runs again with any of these files", true)];
    labels.extend(copies.iter().map(|copy| label(copy.keyword(), "it needs none of what is copied here", false)));
    Some(Advice {
        code: Code::PackagesAfterCopy,
        message: "packages are installed again whenever a copied file changes".to_owned(),
        labels,
        proposal: "Install them before anything is copied.".to_owned(),
        edits,
        ignore: Vec::new(),
        gain: spared(run, time, "when a file changes that is copied before it".to_owned()),
        evidence: measured(time),
        condition: None,
    })
}

fn is_copied(site: &Site<'_>) -> bool {
    matches!(site.instruction.kind, InstructionKind::Copy(_) | InstructionKind::Add(_))
}

/// Whether a step that installs packages is the same before this one.
fn stays(subject: &Subject<'_>, site: &Site<'_>) -> bool {
    match &site.instruction.kind {
        InstructionKind::Copy(_) | InstructionKind::Add(_) => {
            let Some(layer) = subject.layer_of(site) else { return false };
            SYSTEM.iter().all(|dir| layer.share(dir).is_none())
        }
        InstructionKind::Workdir(_) => true,
        _ => site.is_metadata(),
    }
}

/// Whether a command only manages packages of the system by their names.
fn is_of_packages(command: &Simple) -> bool {
    let verb = command.operands().next().unwrap_or_default();
    let is_manager = match command.program() {
        "apt-get" | "apt" => {
            matches!(verb, "update" | "install" | "upgrade" | "clean" | "autoclean" | "autoremove" | "dist-upgrade")
        }
        "apk" => matches!(verb, "add" | "update" | "upgrade"),
        "dnf" | "yum" | "microdnf" | "tdnf" => matches!(verb, "install" | "update" | "upgrade" | "clean" | "makecache"),
        "zypper" => matches!(verb, "install" | "in" | "refresh" | "ref" | "clean"),
        // Lists that they leave.
        "rm" => {
            return command
                .operands()
                .all(|path| path.starts_with("/var/lib/apt/lists") || path.starts_with("/var/cache/"));
        }
        _ => false,
    };
    is_manager && !command.has_variable && !command.words.iter().skip(1).any(|word| word.contains('/'))
}

fn installs(command: &Simple) -> bool {
    command.operands().next().is_some_and(|verb| matches!(verb, "install" | "add" | "in" | "upgrade"))
}
