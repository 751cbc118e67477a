//! What package managers keep for themselves, in a layer.

use stave_dockerfile::ast::{Command, FlagName, InstructionKind};

use super::label;
use crate::advice::{Advice, Code, Edit, Gain};
use crate::shell::{calls, chain};
use crate::subject::{Site, Subject};

/// A package manager and where it keeps what it need not keep.
struct Manager {
    name: &'static str,
    programs: &'static [&'static str],
    paths: &'static [&'static str],
    /// Whether two of it at once disturb each other.
    is_exclusive: bool,
    /// How it is told to learn what there is, where that is a command of its own.
    update: Option<&'static [&'static str]>,
}

const MANAGERS: &[Manager] = &[
    Manager {
        name: "apt",
        programs: &["apt-get", "apt", "aptitude"],
        paths: &["/var/lib/apt/lists", "/var/cache/apt"],
        is_exclusive: true,
        update: Some(&["apt-get", "update"]),
    },
    Manager { name: "apk", programs: &["apk"], paths: &["/var/cache/apk"], is_exclusive: true, update: None },
    Manager {
        name: "dnf",
        programs: &["dnf", "yum", "microdnf"],
        paths: &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"],
        is_exclusive: true,
        update: None,
    },
    Manager { name: "zypper", programs: &["zypper"], paths: &["/var/cache/zypp"], is_exclusive: true, update: None },
    Manager {
        name: "pip",
        programs: &["pip", "pip3", "python", "python3"],
        paths: &["/root/.cache/pip"],
        is_exclusive: false,
        update: None,
    },
    Manager { name: "npm", programs: &["npm", "npx"], paths: &["/root/.npm"], is_exclusive: false, update: None },
    Manager {
        name: "yarn",
        programs: &["yarn", "yarnpkg"],
        paths: &["/root/.cache/yarn", "/usr/local/share/.cache/yarn"],
        is_exclusive: true,
        update: None,
    },
    Manager {
        name: "go",
        programs: &["go"],
        paths: &["/root/.cache/go-build", "/go/pkg/mod", "/root/go/pkg/mod"],
        is_exclusive: false,
        update: None,
    },
    Manager {
        name: "cargo",
        programs: &["cargo"],
        paths: &["/usr/local/cargo/registry", "/root/.cargo/registry"],
        is_exclusive: false,
        update: None,
    },
    Manager {
        name: "bundler",
        programs: &["bundle", "gem"],
        paths: &["/usr/local/bundle/cache"],
        is_exclusive: false,
        update: None,
    },
    Manager {
        name: "composer",
        programs: &["composer"],
        paths: &["/root/.composer/cache", "/root/.cache/composer"],
        is_exclusive: false,
        update: None,
    },
    Manager { name: "maven", programs: &["mvn"], paths: &["/root/.m2/repository"], is_exclusive: true, update: None },
    Manager {
        name: "gradle",
        programs: &["gradle", "gradlew"],
        paths: &["/root/.gradle/caches"],
        is_exclusive: true,
        update: None,
    },
];

/// Bytes of one path in the layers that steps made.
struct Kept {
    path: &'static str,
    bytes: u64,
    /// The step that has most of it.
    most: (usize, u64),
    /// All steps that put a file there.
    steps: Vec<usize>,
}

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    let of_stage = |stage: &Vec<Site<'_>>| {
        let one = |manager: &Manager| of_manager(subject, stage, manager);
        MANAGERS.iter().filter_map(one).collect::<Vec<_>>()
    };
    sites.iter().flat_map(of_stage).collect()
}

fn of_manager(subject: &Subject<'_>, sites: &[Site<'_>], manager: &Manager) -> Option<Advice> {
    let calls = |site: &Site<'_>| {
        site.script().is_some_and(|script| manager.programs.iter().any(|program| calls(&script, program)))
    };
    let runs: Vec<usize> = (0..sites.len()).filter(|index| calls(&sites[*index])).collect();
    if runs.is_empty() || starts_with(sites, manager) {
        return None;
    }
    let kept: Vec<Kept> = manager.paths.iter().filter_map(|path| measure(subject, sites, path)).collect();
    // What a step keeps that does not seem to call the manager would still be kept.
    if kept.iter().any(|kept| !kept.steps.iter().all(|step| runs.contains(step))) {
        return None;
    }
    let bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
    let most = kept.iter().max_by_key(|kept| kept.bytes)?.most.0;
    let edits = edits(subject, sites, manager, &kept, &runs)?;
    let what = format!("what {} keeps for itself is in this layer", manager.name);
    let paths: Vec<String> = kept.iter().map(|kept| format!("`{}`", kept.path)).collect();
    Some(Advice {
        code: Code::CacheInLayer,
        message: format!("the image has what {} keeps for itself", manager.name),
        labels: vec![label(sites[most].keyword(), &what, true)],
        proposal: format!(
            "Keep {} in a cache mount: it is in no layer, and the next build finds it again.",
            paths.join(" and ")
        ),
        edits,
        ignore: Vec::new(),
        gain: Gain { bytes, ..Gain::default() },
        evidence: kept.iter().map(|kept| format!("The layers have {} bytes at `{}`.", kept.bytes, kept.path)).collect(),
        condition: None,
    })
}

/// What runs a manager, and much else.
const INTERPRETERS: [&str; 2] = ["python", "python3"];

/// Whether a container starts with the manager, and so needs what it keeps.
fn starts_with(sites: &[Site<'_>], manager: &Manager) -> bool {
    sites.iter().any(|site| {
        let (InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command)) = &site.instruction.kind else {
            return false;
        };
        let names = |program: &str| match command {
            Command::Exec(words) => words.iter().any(|word| word.as_str().rsplit('/').next() == Some(program)),
            Command::Shell(text) => calls(text.as_str(), program),
        };
        // `python -m pip` names it as well.
        let says = |word: &str| match command {
            Command::Exec(words) => words.iter().any(|one| one.as_str() == word),
            Command::Shell(text) => text.as_str().split_whitespace().any(|one| one == word),
        };
        let is_it = |program: &str| names(program) && (!INTERPRETERS.contains(&program) || says(manager.name));
        manager.programs.iter().any(|program| is_it(program))
    })
}

/// Returns what the stage's layers have at a path, if the image ships them.
fn measure(subject: &Subject<'_>, sites: &[Site<'_>], path: &'static str) -> Option<Kept> {
    let mut kept = Kept { path, bytes: 0, most: (0, 0), steps: Vec::new() };
    for (index, site) in sites.iter().enumerate() {
        // What is copied there is wanted there.
        if !matches!(site.instruction.kind, InstructionKind::Run(_)) {
            continue;
        }
        let Some(share) = subject.image_layer(site).and_then(|layer| layer.share(path)) else { continue };
        kept.bytes += share.bytes;
        if share.files > 0 {
            kept.steps.push(index);
        }
        if share.bytes > kept.most.1 {
            kept.most = (index, share.bytes);
        }
    }
    (kept.bytes > 0).then_some(kept)
}

/// Returns the edits that give each step that calls the manager the mounts, from the first on that it keeps something in.
fn edits(
    subject: &Subject<'_>,
    sites: &[Site<'_>],
    manager: &Manager,
    kept: &[Kept],
    runs: &[usize],
) -> Option<Vec<Edit>> {
    let sharing = if manager.is_exclusive { ",sharing=locked" } else { "" };
    let mount = |kept: &Kept| format!(" --mount=type=cache,target={}{sharing}", kept.path);
    let mounts: String = kept.iter().map(mount).collect();
    let mut edits = Vec::new();
    let mut waiting_update: Option<usize> = None;
    for &index in runs {
        let site = &sites[index];
        if site.instruction.head.flags_named(FlagName::Mount).next().is_some() {
            // Whose mounts hide which is not for a rule to say.
            return None;
        }
        let mut update = String::new();
        if let Some(words) = manager.update {
            match updates(site, words) {
                Updates::Only if waiting_update.is_none() => {
                    waiting_update = Some(index);
                    edits.push(Edit::remove_lines(subject.text(), site.span()));
                    continue;
                }
                Updates::Only | Updates::Unclear => return None,
                Updates::Itself => {}
                Updates::Needless => continue,
                Updates::Not => {
                    // Its lists are from an earlier step, and a mount that somebody has pruned would lack them.
                    update = format!(" {} &&", words.join(" "));
                }
            }
        }
        let at = site.keyword().end;
        let after = site.instruction.head.flags.iter().map(|flag| flag.span.end).max().unwrap_or(at);
        if update.is_empty() {
            edits.push(Edit::insert(at, mounts.clone()));
        } else if after == at {
            edits.push(Edit::insert(at, format!("{mounts}{update}")));
        } else {
            edits.push(Edit::insert(at, mounts.clone()));
            edits.push(Edit::insert(after, update));
        }
        // Behind all others of the instruction: edits are in the order of the text.
        edits.extend(without_deletions(site, manager, kept)?);
        waiting_update = waiting_update.filter(|_| false);
    }
    // Lists that nobody uses.
    waiting_update.is_none().then_some(edits)
}

/// Returns what takes away the commands that would empty the mounts again; nothing if that is too involved to be changed.
fn without_deletions(site: &Site<'_>, manager: &Manager, kept: &[Kept]) -> Option<Vec<Edit>> {
    let script = site.script().unwrap_or_default();
    let deletes = |script: &str| calls(script, "rm") && kept.iter().any(|kept| script.contains(kept.path));
    let understood = site.shell().and_then(|text| Some((text, chain(text.as_str())?)));
    let Some((text, commands)) = understood else { return (!deletes(&script)).then(Vec::new) };
    let mut edits = Vec::new();
    for (place, command) in commands.iter().enumerate() {
        let operands: Vec<&str> = command.operands().collect();
        let is_meant = |operand: &&str| kept.iter().any(|kept| is_in(operand, kept.path));
        let cleans = manager.programs.contains(&command.program()) && operands.first() == Some(&"clean");
        let meant = if command.program() == "rm" { operands.iter().filter(|one| is_meant(one)).count() } else { 0 };
        let above = |operand: &&str| kept.iter().any(|kept| is_in(kept.path, operand.trim_end_matches("/*")));
        if command.program() == "rm" && meant < operands.len() && (meant > 0 || operands.iter().any(above)) {
            return None;
        }
        if !cleans && meant == 0 {
            continue;
        }
        // The command goes with the operator before it.
        let before = place.checked_sub(1).and_then(|place| commands.get(place))?;
        edits.push(Edit::replace(text.span_of(before.range.end..command.range.end), String::new()));
    }
    Some(edits)
}

/// Whether a path is `directory`, or lies in it.
fn is_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What needs to know which packages there are.
const INSTALLS: [&str; 6] = ["install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "download"];

/// What a step does about the lists of a manager.
enum Updates {
    /// It gets them and does nothing else.
    Only,
    /// It gets them and uses them.
    Itself,
    /// It needs none.
    Needless,
    /// It does not get them, though it needs them.
    Not,
    /// It does not get them, and is too involved to be changed.
    Unclear,
}

fn updates(site: &Site<'_>, words: &[&str]) -> Updates {
    let commands = site.shell().and_then(|text| chain(text.as_str()));
    let is_update = |command: &crate::shell::Simple| {
        command.program() == words[0] && command.operands().next() == words.get(1).copied()
    };
    match commands {
        Some(commands) if commands.len() == 1 && is_update(&commands[0]) => Updates::Only,
        Some(commands) if commands.iter().any(is_update) => Updates::Itself,
        Some(commands) if !commands.iter().any(|command| command.operands().any(|word| INSTALLS.contains(&word))) => {
            Updates::Needless
        }
        Some(_) => Updates::Not,
        None if site.script().is_some_and(|script| script.contains(&words.join(" "))) => Updates::Itself,
        None => Updates::Unclear,
    }
}
