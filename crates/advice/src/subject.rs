//! What rules look at: the steps of a build, where they are written, and the files that they made.

use stave_anatomy::{Anatomy, Made, Place, Share};
use stave_dockerfile::ast::{Command, Instruction, InstructionKind, Stage};
use stave_dockerfile::{Dockerfile, Span};
use stave_event::StepId;
use stave_history::{Record, StepRecord};

/// All that advice is made from.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// What happened.
    pub record: &'a Record,
    /// The file that was built, parsed from the record's text.
    pub file: &'a Dockerfile,
    /// The image that was made, with who made its layers.
    pub image: Option<&'a Anatomy>,
    /// The files of stages that are not the image's.
    pub stages: &'a [StageLayers],
    /// The program that a container starts with, if what the image has there is one: its path, and whether it needs no
    /// other file to be loaded.
    pub program: Option<(&'a str, bool)>,
}

/// The files of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLayers {
    /// The stage's name, as steps have it.
    pub stage: String,
    /// Its files, with who made the layers.
    pub anatomy: Anatomy,
}

/// An instruction with its step.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) instruction: &'a Instruction,
    /// The step, if the build has one for it.
    pub(crate) step: Option<&'a StepRecord>,
}

/// A layer of the image or of a stage.
#[derive(Clone, Copy)]
pub(crate) struct LayerOf<'a> {
    pub(crate) anatomy: &'a Anatomy,
    pub(crate) layer: u32,
    /// Whether it is one of the image's.
    pub(crate) in_image: bool,
}

impl<'a> Subject<'a> {
    /// Returns the Dockerfile's text.
    pub(crate) fn text(&self) -> &'a str {
        &self.record.text
    }

    /// Returns all instructions of a stage.
    pub(crate) fn sites(&self, stage: usize) -> Vec<Site<'a>> {
        let Some(of) = self.file.stages.get(stage) else { return Vec::new() };
        let site = |instruction: &'a Instruction| {
            let step = self.record.steps.iter().find(|step| step.line.span == instruction.head.span);
            Site { instruction, step }
        };
        of.instructions.iter().map(site).collect()
    }

    /// Returns the instructions of all stages.
    pub(crate) fn all_sites(&self) -> Vec<Vec<Site<'a>>> {
        (0..self.file.stages.len()).map(|stage| self.sites(stage)).collect()
    }

    /// Returns the layer that a step made: of the image, else of a stage.
    pub(crate) fn layer_of(&self, site: &Site<'_>) -> Option<LayerOf<'a>> {
        let step = site.step?.line.step;
        let image = self.image.map(|anatomy| (anatomy, true));
        let stages = self.stages.iter().map(|stage| (&stage.anatomy, false));
        image.into_iter().chain(stages).find_map(|(anatomy, in_image)| {
            let layer = anatomy.layers.iter().position(|layer| is_by(layer.made.as_ref(), step))?;
            Some(LayerOf { anatomy, layer: u32::try_from(layer).ok()?, in_image })
        })
    }

    /// Returns the layer of the image that a step made.
    pub(crate) fn image_layer(&self, site: &Site<'_>) -> Option<LayerOf<'a>> {
        self.layer_of(site).filter(|layer| layer.in_image)
    }

    /// Returns the place in the file of the stage that became the image.
    pub(crate) fn target(&self) -> Option<usize> {
        let made = |layer: &stave_anatomy::Layer| match &layer.made {
            Some(Made::Step { step, .. }) => Some(*step),
            _ => None,
        };
        let last = self.image?.layers.iter().rev().find_map(made)?;
        let span = self.record.step(last)?.line.span;
        let named = self.record.request.target.as_deref();
        let has = |stage: &Stage| stage.instructions.iter().any(|instruction| instruction.head.span == span);
        let by_name = |stage: &Stage| {
            named.is_none_or(|named| stage.name.as_ref().is_some_and(|name| name.name.eq_ignore_ascii_case(named)))
        };
        // The stage of the highest layer is the target unless that only adds what is no file.
        let place = self.file.stages.iter().position(has)?;
        let target = match named {
            Some(number) if number.parse::<usize>().is_ok() => number.parse().ok()?,
            Some(_) => self.file.stages.iter().position(by_name)?,
            None => self.file.stages.len() - 1,
        };
        (place == target).then_some(place)
    }
}

fn is_by(made: Option<&Made>, wanted: StepId) -> bool {
    matches!(made, Some(Made::Step { step, .. }) if *step == wanted)
}

impl<'a> LayerOf<'a> {
    /// Returns what the layer has at a path and below it.
    pub(crate) fn share(&self, path: &str) -> Option<&'a Share> {
        self.anatomy.find(path)?.share(self.layer)
    }

    /// Returns what the layer has directly in a directory.
    pub(crate) fn list(&self, path: &str) -> Vec<Place<'a>> {
        let layer = self.layer;
        let place = self.anatomy.find(path);
        place.into_iter().flat_map(Place::children).filter(|child| child.share(layer).is_some()).collect()
    }

    /// Whether the layer has a file with this name below a path, but for what is in directories called `except`.
    pub(crate) fn has_below(&self, path: &str, name: &str, except: &str) -> bool {
        let mut open = self.list(path);
        while let Some(place) = open.pop() {
            if *place.node().name == *name && place.children().next().is_none() {
                return true;
            }
            if *place.node().name != *except {
                open.extend(place.children().filter(|child| child.share(self.layer).is_some()));
            }
        }
        false
    }

    /// Returns the bytes of the layer's tar.
    pub(crate) fn bytes(&self) -> u64 {
        self.anatomy.layers[self.layer as usize].bytes
    }
}

impl<'a> Site<'a> {
    /// Returns the text of a `RUN` in the shell form, on one line, if it has no heredocs.
    pub(crate) fn shell(&self) -> Option<&'a stave_dockerfile::Text> {
        match &self.instruction.kind {
            InstructionKind::Run(run) if run.heredocs.is_empty() => match &run.command {
                Command::Shell(text) => Some(text),
                Command::Exec(_) => None,
            },
            _ => None,
        }
    }

    /// Returns what a `RUN` runs, in any form, to be searched for words.
    pub(crate) fn script(&self) -> Option<String> {
        let InstructionKind::Run(run) = &self.instruction.kind else { return None };
        Some(match &run.command {
            Command::Exec(words) => words.iter().map(stave_dockerfile::Text::as_str).collect::<Vec<_>>().join(" "),
            Command::Shell(_) => run.script().unwrap_or_default(),
        })
    }

    /// Returns what `COPY` says, if it is one.
    pub(crate) fn copy(&self) -> Option<&'a stave_dockerfile::ast::Copy> {
        if let InstructionKind::Copy(copy) = &self.instruction.kind { Some(copy) } else { None }
    }

    pub(crate) fn span(&self) -> Span {
        self.instruction.head.span
    }

    pub(crate) fn keyword(&self) -> Span {
        self.instruction.head.keyword.span()
    }

    /// Returns how long its step took when it ran last.
    pub(crate) fn time(&self) -> Option<std::time::Duration> {
        let step = self.step?;
        step.took.or(step.saved)
    }

    /// Whether it changes nothing but what an image says of itself.
    pub(crate) fn is_metadata(&self) -> bool {
        use InstructionKind as Kind;
        matches!(
            self.instruction.kind,
            Kind::Cmd(_)
                | Kind::Entrypoint(_)
                | Kind::Expose(_)
                | Kind::Healthcheck(_)
                | Kind::Label(_)
                | Kind::Maintainer(_)
                | Kind::Stopsignal(_)
                | Kind::Onbuild(_)
        )
    }
}

/// Returns the directory in which the instruction at `index` works, if the stage says so without variables.
pub(crate) fn workdir(sites: &[Site<'_>], index: usize) -> Option<String> {
    let mut dir: Option<String> = None;
    for site in &sites[..index] {
        let InstructionKind::Workdir(path) = &site.instruction.kind else { continue };
        dir = absolute(path.as_str(), dir.as_deref());
        dir.as_ref()?;
    }
    dir
}

/// Returns a path from the root, without dots; nothing if it cannot be told, or has a variable or a pattern in it.
pub(crate) fn absolute(path: &str, workdir: Option<&str>) -> Option<String> {
    if path.contains(['$', '*', '?', '[', '\\', '"', '\'']) {
        return None;
    }
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", workdir?) };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Whether `path` is `dir` or below it.
pub(crate) fn is_below(path: &str, dir: &str) -> bool {
    dir == "/" || path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the program that a container of the target starts, if the file says so in the exec form and by its whole path.
#[must_use]
pub fn program_of(file: &Dockerfile, target: Option<&str>) -> Option<String> {
    let is_meant = |stage: &&Stage| {
        target.is_none_or(|target| stage.name.as_ref().is_some_and(|name| name.name.eq_ignore_ascii_case(target)))
    };
    let stage = match target.map(str::parse::<usize>) {
        Some(Ok(number)) => file.stages.get(number)?,
        _ => file.stages.iter().rev().find(is_meant)?,
    };
    let last = |wanted: fn(&InstructionKind) -> Option<&Command>| {
        stage.instructions.iter().rev().find_map(|instruction| wanted(&instruction.kind))
    };
    let entry = last(|kind| if let InstructionKind::Entrypoint(command) = kind { Some(command) } else { None });
    let command = entry.or(last(|kind| if let InstructionKind::Cmd(command) = kind { Some(command) } else { None }))?;
    let Command::Exec(words) = command else { return None };
    let program = words.first()?.as_str();
    program.starts_with('/').then(|| program.to_owned())
}
