//! Which stage or image every name means, and which stages the target needs.

use std::collections::{BTreeMap, BTreeSet};

use stave_graph::{ContextId, GitSource};
use stave_oci::{Platform, Reference};

use super::variables::Variables;
use super::words::expanded;
use super::{NamedContext, PlanOptions, StageLabel, codes, context_name};
use crate::ast::{Dockerfile, FlagName, Instruction, InstructionKind, Mount, MountKey, Stage};
use crate::codes::UNKNOWN_STAGE;
use crate::diagnostic::{Diagnostic, Label, Severity};
use crate::expand::Expanded;
use crate::parse::mount::{has_variable, variable_in_from};
use crate::span::Span;
use crate::suggest::nearest;
use crate::text::Text;

/// Most stages of one file: some work grows with the square of their number.
pub const STAGES_MAX: usize = 4_096;

/// Where a stage, or a copy, takes its files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// No files.
    Scratch,
    /// A stage of this file, by its number.
    Stage(usize),
    /// An image, as it was written.
    Image(String),
    /// A directory of the caller.
    Local(ContextId),
    /// A git repository.
    Git(GitSource),
    /// A file on the network.
    Http(String),
}

/// Where a stage or an image is named: the numbers of stage and instruction, and 0 for `COPY --from` or, from 1, the
/// number of the mount.
pub(super) type At = (usize, usize, usize);

/// A stage's place, and the platform that its `FROM` chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) place: Place,
    pub(super) platform: Option<Platform>,
    /// Whether the place stands for the whole stage: its instructions do not count.
    pub(super) replaced: bool,
    /// What to do about the first variable of its name that has no value.
    pub(super) unset: Option<String>,
}

/// All names of a file, resolved.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// For each stage where it starts from; `None` if that is a mistake, which has been reported.
    pub(super) bases: Vec<Option<Base>>,
    /// What `--from` and `from` of mounts mean. What is missing is a reported mistake.
    pub(super) froms: BTreeMap<At, Place>,
    /// For each stage those that must have been built before it: `FROM --after`.
    pub(super) after: BTreeMap<usize, BTreeSet<usize>>,
    /// The stages that must be built, in the order of the file.
    pub(super) needed: BTreeSet<usize>,
    /// What to build; `None` if there is no such stage, which has been reported.
    pub(super) target: Option<usize>,
}

/// Returns the name of a stage for people.
pub(super) fn label(file: &Dockerfile, index: usize) -> StageLabel {
    let name = file.stages[index].name.as_ref().map(|name| name.written.as_str().to_owned());
    StageLabel { index, name }
}

fn shown(file: &Dockerfile, index: usize) -> String {
    label(file, index).name.map_or_else(|| format!("stage {index}"), |name| format!("stage `{name}`"))
}

/// Where a stage is defined: its name, or its base if it has none.
fn definition(stage: &Stage) -> Span {
    stage.name.as_ref().map_or_else(|| stage.base.span(), |name| name.written.span())
}

fn stage_names(file: &Dockerfile) -> impl Iterator<Item = &str> {
    file.stages.iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.name.as_str())
}

/// Returns the stage whose name is nearest to that of an image that does not exist, if one is near: it may be a
/// misspelt stage.
#[must_use]
pub fn similar_stage(file: &Dockerfile, image: &str) -> Option<String> {
    nearest(image, stage_names(file)).map(str::to_owned)
}

/// The last stage before `before` that has this name, in any case.
fn find(file: &Dockerfile, name: &str, before: usize) -> Option<usize> {
    let name = name.to_lowercase();
    file.stages[..before].iter().rposition(|stage| stage.name.as_ref().is_some_and(|known| known.name == name))
}

/// Returns what each stage starts from; `None` if there are too many stages, which is then reported.
pub(super) fn bases(
    file: &Dockerfile,
    options: &PlanOptions,
    globals: &Variables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<Option<Base>>> {
    if let Some(first_too_many) = file.stages.get(STAGES_MAX) {
        let message = format!("the file has {} stages, and at most {STAGES_MAX} are allowed", file.stages.len());
        diagnostics.push(Diagnostic::error(codes::TOO_LARGE, definition(first_too_many), message));
        return None;
    }
    let stages = file.stages.iter().enumerate();
    Some(stages.map(|(index, stage)| base(file, options, index, stage, globals, diagnostics)).collect())
}

/// Resolves all names, where the stages start from `bases`.
pub(super) fn resolve(
    file: &Dockerfile,
    bases: Vec<Option<Base>>,
    options: &PlanOptions,
    diagnostics: &mut Vec<Diagnostic>,
) -> Stages {
    let mut stages = Stages { bases, ..Stages::default() };
    for (index, stage) in file.stages.iter().enumerate() {
        for (number, instruction) in stage.instructions.iter().enumerate() {
            for (slot, value) in froms(instruction) {
                match place(file, options, index, slot, value) {
                    Ok(place) => {
                        stages.froms.insert((index, number, slot), place);
                    }
                    Err(diagnostic) => diagnostics.push(*diagnostic),
                }
            }
        }
    }
    for (index, stage) in file.stages.iter().enumerate() {
        // What a context stands for is there.
        let replaced = stages.bases[index].as_ref().is_some_and(|base| base.replaced);
        for flag in stage.head.flags_named(FlagName::After).filter(|_| !replaced) {
            match earlier(file, index, &flag.value) {
                Ok(earlier) => {
                    stages.after.entry(index).or_default().insert(earlier);
                }
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
    }
    stages.target = target(file, options).map_err(|diagnostic| diagnostics.push(*diagnostic)).ok();
    report_cycles(file, &mut stages, diagnostics);
    stages.needed = needed(&stages);
    report_later_stages(file, &mut stages, diagnostics);
    stages
}

/// The values that name stages or images, with their slots: `--from` of `COPY`, `from` of mounts.
fn froms(instruction: &Instruction) -> Vec<(usize, &Text)> {
    match &instruction.kind {
        InstructionKind::Copy(_) => {
            instruction.head.flag(FlagName::From).map(|flag| (0, &flag.value)).into_iter().collect()
        }
        InstructionKind::Run(run) => {
            let from = |mount: &'_ Mount| mount.options.iter().rposition(|option| option.key == MountKey::From);
            let mounts = (1..).zip(&run.mounts).filter_map(|(slot, mount)| {
                let value = mount.options[from(mount)?].value.as_ref()?;
                (!value.is_empty()).then_some((slot, value))
            });
            mounts.collect()
        }
        _ => Vec::new(),
    }
}

fn base(
    file: &Dockerfile,
    options: &PlanOptions,
    index: usize,
    stage: &Stage,
    globals: &Variables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Base> {
    if stage.base.is_empty() {
        return None; // The parser has said so.
    }
    let platform = match stage.head.flag(FlagName::Platform) {
        Some(flag) => Some(platform(file, &flag.value, globals, diagnostics)?),
        None => None,
    };
    let expanded = expanded(&stage.base, globals, file.escape, diagnostics)?;
    if expanded.text.is_empty() {
        diagnostics.push(
            Diagnostic::error(codes::EMPTY_BASE, stage.base.span(), "the name of the base image is empty")
                .label("nothing is left when its variables are expanded")
                .maybe_hint(undefined_hint(file, &expanded, globals)),
        );
        return None;
    }
    let unset = undefined_hint(file, &expanded, globals);
    let name = expanded.text;
    let wanted = platform.as_ref().unwrap_or(&options.platform);
    let own = stage.name.as_ref().and_then(|name| named_context(options, &name.name, wanted));
    let replaced = own.is_some();
    let place = match (own, find(file, &name, index)) {
        (Some(context), _) => context_place(file, context, stage.base.span()),
        (None, Some(earlier)) => Ok(Place::Stage(earlier)),
        (None, None) if name == "scratch" => Ok(Place::Scratch),
        (None, None) => match named_context(options, &name, wanted) {
            Some(context) => context_place(file, context, stage.base.span()),
            None => Ok(Place::Image(name)),
        },
    };
    let place = place.and_then(|place| match place {
        Place::Stage(later) if later >= index => {
            let message =
                format!("{} is to start from {}, which is defined later", shown(file, index), shown(file, later));
            Err(Box::new(Diagnostic::error(codes::USED_BEFORE_DEFINED, stage.base.span(), message)))
        }
        place => Ok(place),
    });
    match place {
        Ok(place) => Some(Base { place, platform, replaced, unset }),
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            None
        }
    }
}

/// Returns what the caller gave the name of a stage or an image.
fn named_context<'a>(options: &'a PlanOptions, name: &str, platform: &Platform) -> Option<&'a NamedContext> {
    if options.contexts.is_empty() {
        return None;
    }
    let name = context_name(name);
    options.contexts.get(&format!("{name}::{platform}")).or_else(|| options.contexts.get(&name))
}

fn context_place(file: &Dockerfile, context: &NamedContext, span: Span) -> Result<Place, Box<Diagnostic>> {
    Ok(match context {
        NamedContext::Local(context) => Place::Local(*context),
        NamedContext::Image(reference) if reference == "scratch" => Place::Scratch,
        NamedContext::Image(reference) => Place::Image(reference.clone()),
        NamedContext::Git(source) => Place::Git(source.clone()),
        NamedContext::Http(url) => Place::Http(url.clone()),
        NamedContext::Stage(name) => Place::Stage(find(file, name, file.stages.len()).ok_or_else(|| {
            let message = format!("the named context is the stage `{name}`, and no stage has that name");
            Box::new(Diagnostic::error(codes::UNKNOWN_TARGET, span, message))
        })?),
    })
}

/// Whether a stage declares a build argument.
fn declares(file: &Dockerfile, name: &str) -> bool {
    let instructions = file.stages.iter().flat_map(|stage| &stage.instructions);
    instructions.into_iter().any(|instruction| match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.iter().any(|one| one.name.as_str() == name),
        _ => false,
    })
}

/// Returns the place of the stage that has this very name, if there is one.
#[must_use]
pub fn stage_named(file: &Dockerfile, name: &str) -> Option<Span> {
    let index = find(file, name, file.stages.len())?;
    Some(definition(&file.stages[index]))
}

/// Says how to give a value to the first variable that has none.
fn undefined_hint(file: &Dockerfile, expanded: &Expanded, globals: &Variables) -> Option<String> {
    let name = &expanded.undefined.first()?.name;
    if globals.is_unset(name) {
        return Some(format!("Give it a value: `--build-arg {name}=...`, or `ARG {name}=...` in the file."));
    }
    if declares(file, name) {
        return Some(format!(
            "The `ARG {name}` below holds in its stage only: move it above the first `FROM`, and repeat `ARG {name}` where the \
             stage needs it."
        ));
    }
    Some(match nearest(name, globals.declared()) {
        Some(known) => format!("`{name}` is not defined before the first `FROM`; a similar name is: `{known}`."),
        None => format!("Define it before the first `FROM`, as `ARG {name}=value`."),
    })
}

fn platform(
    file: &Dockerfile,
    text: &Text,
    globals: &Variables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Platform> {
    let expanded = expanded(text, globals, file.escape, diagnostics)?;
    if expanded.text.is_empty() {
        diagnostics.push(
            Diagnostic::error(codes::PLATFORM, text.span(), "the platform is empty")
                .label("nothing is left when its variables are expanded")
                .maybe_hint(undefined_hint(file, &expanded, globals)),
        );
        return None;
    }
    match expanded.text.parse::<Platform>() {
        Ok(platform) => Some(platform),
        Err(error) => {
            diagnostics.push(
                Diagnostic::error(codes::PLATFORM, text.span(), error.to_string())
                    .hint("A platform is written `linux/amd64` or `linux/arm/v7`."),
            );
            None
        }
    }
}

/// What `value` in this slot of an instruction in stage `current` means. Only copies know stages by number, as BuildKit.
fn place(
    file: &Dockerfile,
    options: &PlanOptions,
    current: usize,
    slot: usize,
    value: &Text,
) -> Result<Place, Box<Diagnostic>> {
    let name = value.as_str();
    if name == "scratch" && find(file, name, file.stages.len()).is_none() {
        return Ok(Place::Scratch);
    }
    if slot == 0 && is_number(name) {
        return numbered(file, name).map(Place::Stage).ok_or_else(|| {
            let message = format!("there is no stage {name}");
            Box::new(Diagnostic::error(codes::STAGE_INDEX, value.span(), message).label(stage_count(file)))
        });
    }
    if let Some(stage) = find(file, name, current).or_else(|| find(file, name, file.stages.len())) {
        return Ok(Place::Stage(stage));
    }
    match named_context(options, name, &options.platform) {
        Some(context) => context_place(file, context, value.span()),
        None if numbered(file, name).is_some() && is_number(name) => Err(Box::new(number_in_mount(file, name, value))),
        None if has_variable(name) => Err(Box::new(variable_in_from(value))),
        None => Ok(Place::Image(name.to_owned())),
    }
}

/// A mount names a stage by its number. BuildKit looks for an image of that name then, which is never what is meant.
fn number_in_mount(file: &Dockerfile, number: &str, value: &Text) -> Diagnostic {
    let stage = &file.stages[numbered(file, number).expect("only the number of a stage is asked about")];
    let hint = match &stage.name {
        Some(name) => format!("Write the stage's name: `from={}`.", name.written.as_str()),
        None => "Give the stage a name, `FROM ... AS name`, and write that.".to_owned(),
    };
    Diagnostic::error(codes::STAGE_INDEX, value.span(), format!("mounts do not know stage {number} by its number"))
        .label("an image of this name is looked for")
        .also(definition(stage), format!("stage {number}"))
        .hint(hint)
}

/// The stage that `FROM --after` names, by name or number, in the head of stage `current`.
///
/// Reference: buildah-build(1), "Using FROM --after for explicit stage dependencies".
fn earlier(file: &Dockerfile, current: usize, value: &Text) -> Result<usize, Box<Diagnostic>> {
    let name = value.as_str();
    let any = file.stages.len();
    let found = find(file, name, current).or_else(|| find(file, name, any));
    let found = found.or_else(|| if is_number(name) { numbered(file, name) } else { None });
    match found {
        Some(stage) if stage < current => Ok(stage),
        Some(stage) => {
            let (this, other) = (shown(file, current), shown(file, stage));
            let message = format!("{this} is to be built after {other}, which is not defined before it");
            let diagnostic = Diagnostic::error(codes::USED_BEFORE_DEFINED, value.span(), message)
                .also(definition(&file.stages[stage]), "defined here")
                .hint("`--after` names an earlier stage.");
            Err(Box::new(diagnostic))
        }
        None if is_number(name) => {
            let message = format!("there is no stage {name}");
            Err(Box::new(Diagnostic::error(codes::STAGE_INDEX, value.span(), message).label(stage_count(file))))
        }
        None => {
            let near = nearest(
                name,
                file.stages[..current].iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.name.as_str()),
            );
            let hint = near.map(|near| format!("An earlier stage has a similar name: `{near}`."));
            let diagnostic = Diagnostic::error(UNKNOWN_STAGE, value.span(), format!("no stage is named `{name}`"))
                .label("`--after` takes the name or the number of an earlier stage")
                .maybe_hint(hint);
            Err(Box::new(diagnostic))
        }
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the stage with this number, if there is one.
fn numbered(file: &Dockerfile, number: &str) -> Option<usize> {
    number.parse().ok().filter(|&index| index < file.stages.len())
}

fn stage_count(file: &Dockerfile) -> String {
    match file.stages.len() {
        1 => "the file has one stage, and its number is 0".to_owned(),
        count => format!("the file has {count} stages, numbered 0 to {}", count - 1),
    }
}

fn target(file: &Dockerfile, options: &PlanOptions) -> Result<usize, Box<Diagnostic>> {
    let last = file.stages.len() - 1;
    let Some(wanted) = &options.target else { return Ok(last) };
    if let Some(stage) = find(file, wanted, file.stages.len()) {
        return Ok(stage);
    }
    if let Some(index) = numbered(file, wanted) {
        return Ok(index);
    }
    if is_number(wanted) {
        let message = format!("the target is stage {wanted}, and {}", stage_count(file));
        return Err(Box::new(about_all_stages(file, codes::STAGE_INDEX, message)));
    }
    let message = format!("no stage is named `{wanted}`, which is the target");
    let hint = similar_stage(file, wanted).map(|name| format!("A stage with a similar name is `{name}`."));
    Err(Box::new(about_all_stages(file, codes::UNKNOWN_TARGET, message).maybe_hint(hint)))
}

/// An error that is in no word of the file: it points at the stages that there are.
fn about_all_stages(file: &Dockerfile, code: &'static str, message: String) -> Diagnostic {
    /// More stages than this are not listed: nobody would read them.
    const LISTED_MAX: usize = 10;
    let labels = file.stages.iter().take(LISTED_MAX).enumerate().map(|(index, stage)| Label {
        span: definition(stage),
        text: format!("stage {index}"),
        primary: index == 0,
    });
    Diagnostic { code, severity: Severity::Error, message, labels: labels.collect(), hints: Vec::new() }
}

/// For each stage the stages that it needs directly.
fn dependencies(stages: &Stages) -> Vec<BTreeSet<usize>> {
    let mut needed: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); stages.bases.len()];
    let bases = stages.bases.iter().enumerate();
    let bases = bases.filter_map(|(stage, base)| base.as_ref().map(|base| (stage, &base.place)));
    let froms = stages.froms.iter().map(|(&(stage, ..), place)| (stage, place));
    for (stage, place) in bases.chain(froms) {
        if let Place::Stage(other) = place {
            needed[stage].insert(*other);
        }
    }
    for (stage, others) in &stages.after {
        needed[*stage].extend(others);
    }
    needed
}

fn closure(dependencies: &[BTreeSet<usize>], start: usize) -> BTreeSet<usize> {
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(stage) = open.pop() {
        open.extend(dependencies[stage].iter().copied().filter(|&next| seen.insert(next)));
    }
    seen
}

fn needed(stages: &Stages) -> BTreeSet<usize> {
    stages.target.map(|target| closure(&dependencies(stages), target)).unwrap_or_default()
}

/// Copies from a stage that is not before the current one, by the numbers of stage and instruction.
fn forward_copies(stages: &Stages) -> Vec<(At, usize)> {
    let forward = |(&at, place): (&At, &Place)| match place {
        Place::Stage(source) if *source >= at.0 => Some((at, *source)),
        _ => None,
    };
    stages.froms.iter().filter_map(forward).collect()
}

fn from_span(file: &Dockerfile, (stage, instruction, slot): At) -> Span {
    let values = froms(&file.stages[stage].instructions[instruction]);
    let value = values.into_iter().find(|(known, _)| *known == slot);
    value.expect("only what names a stage is asked about").1.span()
}

/// `FROM` only goes back in the file, so every cycle has a copy that goes forward, or to its own stage.
fn report_cycles(file: &Dockerfile, stages: &mut Stages, diagnostics: &mut Vec<Diagnostic>) {
    let mut broken = Vec::new();
    let dependencies = dependencies(stages);
    let mut closures: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (at, source) in forward_copies(stages) {
        let own = source == at.0;
        let needed = closures.entry(source).or_insert_with(|| closure(&dependencies, source));
        if !own && !needed.contains(&at.0) {
            continue;
        }
        broken.push(at);
        let this = shown(file, at.0);
        let diagnostic = if own {
            Diagnostic::error(codes::CYCLE, from_span(file, at), format!("{this} copies from itself"))
                .label("the stage that this instruction is in")
                .also(definition(&file.stages[source]), "defined here")
                .hint("To copy from an image of the same name, write its name in full, as `docker.io/library/name`.")
        } else {
            let other = shown(file, source);
            Diagnostic::error(codes::CYCLE, from_span(file, at), format!("{this} and {other} need each other"))
                .label(format!("{other} itself needs {this}"))
                .also(definition(&file.stages[source]), format!("{other} is defined here"))
        };
        diagnostics.push(diagnostic);
    }
    for at in broken {
        stages.froms.remove(&at);
    }
}

fn report_later_stages(file: &Dockerfile, stages: &mut Stages, diagnostics: &mut Vec<Diagnostic>) {
    for (at, source) in forward_copies(stages) {
        if !stages.needed.contains(&at.0) {
            continue;
        }
        let (this, other) = (shown(file, at.0), shown(file, source));
        diagnostics.push(
            Diagnostic::error(codes::USED_BEFORE_DEFINED, from_span(file, at), format!("{other} is defined later"))
                .label("used before it is defined")
                .also(definition(&file.stages[source]), "defined here")
                .hint(format!("Move {other} in front of {this}: a stage can only copy from earlier ones.")),
        );
        stages.froms.remove(&at);
    }
}

/// Whether `reference`, written at `span` in stage `stage`, can be the name of an image. If not, says so, and
/// with `unset` what to do about a variable in it that has no value.
///
/// What the caller gives the name of is his own business: it may be one of a layout, which no image can have.
pub(super) fn is_image(
    file: &Dockerfile,
    options: &PlanOptions,
    reference: &str,
    span: Span,
    stage: usize,
    unset: Option<&str>,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let given = |context: &NamedContext| matches!(context, NamedContext::Image(given) if given == reference);
    if options.contexts.values().any(given) {
        return true;
    }
    let Err(error) = reference.parse::<Reference>() else { return true };
    let earlier = file.stages[..stage].iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.name.as_str());
    let hint = nearest(reference, earlier).map(|name| format!("An earlier stage has a similar name: `{name}`."));
    let hint = unset.map(str::to_owned).or(hint);
    diagnostics.push(Diagnostic::error(codes::REFERENCE, span, error.to_string()).maybe_hint(hint));
    false
}
