//! Lowers the stages that are needed, one after the other, into one graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use stave_graph::remote::{file_name, redacted_text};
use stave_graph::{
    After, Copy, CopySource, Git, GitSource, Graph, Http, Image, MountSource, NodeId, Op, Origin, Unpack,
};
use stave_oci::Platform;
use stave_pattern::literal;

use super::metadata;
use super::stage::Stage;
use super::stages::{self, Base, Place, Stages};
use super::variables::Variables;
use super::words::{body, word, words};
use super::{BaseRequest, Facts, PlanOptions, Scope, Step, codes};
use crate::ast::{Dockerfile, Head, Instruction, InstructionKind};
use crate::check;
use crate::codes::UNCLOSED_QUOTE;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

/// Most memory that the environments and the history of all stages may take, in bytes. Each step has an environment and
/// each stage a history, so that a file of a few lines could otherwise fill the memory.
pub const PLAN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The graph while it is made, and all that instructions need to know beside their stage.
pub(super) struct Lowering<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) options: &'a PlanOptions,
    pub(super) facts: &'a Facts,
    pub(super) stages: &'a Stages,
    /// The variables of `FROM` lines, which `ARG`s of stages may take over.
    pub(super) globals: &'a Variables,
    /// The same, for the steps that `FROM` lines are.
    pub(super) from_scope: Arc<Scope>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// What the checks found.
    pub(super) findings: Vec<Diagnostic>,
    pub(super) graph: Graph,
    pub(super) origins: Vec<Span>,
    /// Base images that are not known yet, in the order in which they are named.
    pub(super) missing: Vec<(BaseRequest, Span)>,
    pub(super) steps: Vec<Step>,
    /// The stages that have been lowered.
    pub(super) done: BTreeMap<usize, Stage>,
    /// How much of [`PLAN_BYTES_MAX`] has been used.
    pub(super) bytes: usize,
}

impl Lowering<'_> {
    /// Lowers stage `index`. A stage whose base is a mistake is left out.
    pub(super) fn stage(&mut self, index: usize) {
        let first_step = self.steps.len();
        check::repeated(&self.file.stages[index], &mut self.findings);
        let Some(mut stage) = self.begin(index) else { return };
        self.wait(index, &mut stage);
        if self.charge(stage.bytes(), self.file.stages[index].base.span()).is_none() {
            return;
        }
        for (number, instruction) in self.file.stages[index].instructions.iter().enumerate() {
            let (before, lines) = (stage.node, stage.history.len());
            self.check_instruction(&stage, (index, number), instruction);
            // A mistake has been reported; the rest of the stage may have more.
            let _lowered: Option<()> = self.instruction(&mut stage, (index, number), instruction);
            let mut bytes: usize = stage.history[lines..].iter().map(super::HistoryItem::bytes).sum();
            if stage.node != before {
                bytes += stage.variables.bytes();
                let node = stage.linked.take().unwrap_or(stage.node);
                let scope = self.scope(&stage);
                self.step(index, &stage, node, &instruction.head, scope);
            }
            if self.charge(bytes, instruction.head.keyword.span()).is_none() {
                return;
            }
        }
        let of = self.steps.len() - first_step;
        for (step, number) in self.steps[first_step..].iter_mut().zip(1..) {
            (step.number, step.of) = (number, of);
        }
        self.done.insert(index, stage);
    }

    /// Refuses a file whose plan would fill the memory; says so once.
    fn charge(&mut self, bytes: usize, span: Span) -> Option<()> {
        let fitted = self.bytes <= PLAN_BYTES_MAX;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= PLAN_BYTES_MAX {
            return Some(());
        }
        if fitted {
            let message = format!("the plan of this file would take more than {PLAN_BYTES_MAX} bytes");
            self.diagnostics.push(
                Diagnostic::error(codes::TOO_LARGE, span, message)
                    .hint("Very long variables or lists of ports are copied by each step and each stage."),
            );
        }
        None
    }

    /// Returns the variables that a stage has now, in common with the last step if they are the same.
    fn scope(&self, stage: &Stage) -> Arc<Scope> {
        let scope = stage.scope();
        let same = self.steps.last().map(|step| &step.scope).filter(|before| ***before == scope);
        same.map_or_else(|| Arc::new(scope), Arc::clone)
    }

    fn step(&mut self, index: usize, from: &Stage, node: NodeId, head: &Head, scope: Arc<Scope>) {
        let title = redacted_text(&head.line.as_str().split_whitespace().collect::<Vec<_>>().join(" "));
        let (platform, makes_for) = (from.platform.clone(), from.makes_for(&self.options.platform));
        let stage = stages::label(self.file, index);
        let world = !matches!(self.graph.op(node), Op::Exec(_));
        let world = world.then(|| Box::new(from.world()));
        self.steps.push(Step {
            node,
            stage,
            number: 0,
            of: 0,
            platform,
            makes_for,
            title,
            span: head.span,
            world,
            scope,
        });
    }

    /// Has the stage begin only when the stages that its `FROM` names are built.
    fn wait(&mut self, index: usize, stage: &mut Stage) {
        let others = self.stages.after.get(&index).into_iter().flatten();
        // What is missing has a mistake of its own.
        let others: Vec<NodeId> = others.filter_map(|other| Some(self.done.get(other)?.node)).collect();
        if !others.is_empty() {
            let op = Op::After(After { parent: stage.node, others });
            stage.node = self.add(op, self.file.stages[index].head.span);
        }
    }

    fn begin(&mut self, index: usize) -> Option<Stage> {
        let all = self.stages;
        let Base { place, platform, unset, .. } = all.bases[index].as_ref()?;
        let written = &self.file.stages[index];
        let span = written.base.span();
        let platform = platform.as_ref().unwrap_or(&self.options.platform);
        let stage = match place {
            Place::Scratch => {
                let node = self.add(Op::Scratch, span);
                return Some(Stage::from_scratch(node, platform));
            }
            Place::Stage(earlier) => {
                let mut child = self.done.get(earlier)?.child();
                // They are among this stage's instructions now.
                child.config.config.on_build.clear();
                return Some(child);
            }
            Place::Image(reference) => {
                if !self.is_image(reference, span, index, unset.as_deref()) {
                    return None;
                }
                let request = BaseRequest { reference: reference.clone(), platform: platform.clone() };
                self.image_stage(request, span)
            }
            Place::Local(_) | Place::Git(_) | Place::Http(_) => self.context_stage(place, platform, span),
        };
        if !matches!(self.graph.op(stage.node), Op::Scratch) {
            let scope = Arc::clone(&self.from_scope);
            self.step(index, &stage, stage.node, &written.head, scope);
        }
        Some(stage)
    }

    /// A stage that starts from the files of a named context.
    fn context_stage(&mut self, place: &Place, platform: &Platform, span: Span) -> Stage {
        let node = match place {
            Place::Git(source) => self.git(source, span),
            Place::Http(url) => self.http_files(url, span),
            Place::Local(context) => {
                self.on_nothing(CopySource::Context { context: *context, pattern: ".".to_owned() }, span)
            }
            Place::Scratch | Place::Stage(_) | Place::Image(_) => self.add(Op::Scratch, span),
        };
        let mut stage = Stage::from_scratch(node, platform);
        stage.record("FROM a named context".to_owned(), Some(node));
        stage
    }

    /// The files of one source and nothing else.
    fn on_nothing(&mut self, source: CopySource, span: Span) -> NodeId {
        let scratch = self.add(Op::Scratch, span);
        let copy = Copy { unpack: Unpack::All, ..Copy::new(scratch, vec![source], "/") };
        self.add(Op::Copy(copy), span)
    }

    pub(super) fn git(&mut self, source: &GitSource, span: Span) -> NodeId {
        self.add(Op::Git(Git { source: source.clone() }), span)
    }

    /// A file on the network, or what is in it if it is an archive.
    fn http_files(&mut self, url: &str, span: Span) -> NodeId {
        let name = file_name(url);
        let http = Op::Http(Http { url: url.to_owned(), name: name.clone(), checksum: None });
        let node = self.add(http, span);
        self.on_nothing(CopySource::Tree { node, pattern: literal(&name) }, span)
    }

    /// A stage that starts from an image. One that is not known yet is empty, so that mistakes which do not depend on
    /// it are found in the first run.
    fn image_stage(&mut self, request: BaseRequest, span: Span) -> Stage {
        let facts = self.facts;
        let Some(base) = facts.bases.get(&request) else {
            self.miss(&request, span);
            let node = self.add(Op::Scratch, span);
            let mut stage = Stage::from_scratch(node, &request.platform);
            stage.variables.incomplete = true;
            return stage;
        };
        self.findings.extend(check::base_platform(
            &request.reference,
            &base.config.platform(),
            &request.platform,
            span,
        ));
        let node = self.image_node(base, span);
        let mut stage = Stage::from_image(node, request, &base.config);
        stage.config.config.on_build.clear();
        stage
    }

    fn miss(&mut self, request: &BaseRequest, span: Span) {
        let told = self.facts.absent.contains(request) || self.missing.iter().any(|(known, _)| known == request);
        if !told {
            self.missing.push((request.clone(), span));
        }
    }

    fn image_node(&mut self, base: &super::Base, span: Span) -> NodeId {
        let diff_ids = base.config.rootfs.diff_ids.clone();
        // An image without layers has no files, and its configuration is not part of the graph.
        let op = if diff_ids.is_empty() { Op::Scratch } else { Op::Image(Image { id: base.id, diff_ids }) };
        self.add(op, span)
    }

    /// The files that `--from` means, written at `span` in stage `stage`.
    /// Whether `reference` can be the name of an image.
    fn is_image(&mut self, reference: &str, span: Span, stage: usize, unset: Option<&str>) -> bool {
        stages::is_image(self.file, self.options, reference, span, stage, unset, &mut self.diagnostics)
    }

    pub(super) fn files(&mut self, place: &Place, stage: usize, span: Span) -> Option<MountSource> {
        Some(MountSource::Tree(match place {
            Place::Scratch => return Some(MountSource::Empty),
            Place::Local(context) => return Some(MountSource::Context(*context)),
            Place::Stage(index) => self.done.get(index)?.node,
            Place::Git(source) => self.git(source, span),
            Place::Http(url) => self.http_files(url, span),
            Place::Image(reference) => {
                if !self.is_image(reference, span, stage, None) {
                    return None;
                }
                let platform = self.options.platform.clone();
                let request = BaseRequest { reference: reference.clone(), platform };
                let facts = self.facts;
                if let Some(base) = facts.bases.get(&request) {
                    self.image_node(base, span)
                } else {
                    self.miss(&request, span);
                    self.add(Op::Scratch, span)
                }
            }
        }))
    }

    pub(super) fn add(&mut self, op: Op, span: Span) -> NodeId {
        let origin = u32::try_from(self.origins.len()).expect("a file has fewer than 2^32 instructions");
        self.origins.push(span);
        let op = self.facts.replaced.get(&op).cloned().unwrap_or(op);
        self.graph.add(op, Origin(origin))
    }

    pub(super) fn word(&mut self, stage: &Stage, text: &Text) -> Option<String> {
        word(text, &stage.variables, self.file.escape, &mut self.diagnostics)
    }

    pub(super) fn words(&mut self, stage: &Stage, text: &Text) -> Option<Vec<String>> {
        words(text, &stage.variables, self.file.escape, &mut self.diagnostics)
    }

    /// Expands the body of a heredoc that becomes a file.
    pub(super) fn body(&mut self, stage: &Stage, text: &Text) -> Option<String> {
        body(text, &stage.variables, &mut self.diagnostics)
    }

    /// Makes one mistake of the quotes that blanks tore apart in the words of one instruction, reported since there were
    /// `before` of them.
    pub(super) fn join_quotes(&mut self, before: usize, keyword: &str) {
        let is_quote = |diagnostic: &Diagnostic| diagnostic.code == UNCLOSED_QUOTE;
        let mut quotes = self.diagnostics[before..].iter().filter(|diagnostic| is_quote(diagnostic));
        let (Some(first), Some(last)) = (quotes.next(), quotes.next_back()) else { return };
        let example = if keyword == "VOLUME" { "[\"/a directory\"]" } else { "[\"a file\", \"/to/\"]" };
        let joined = Diagnostic::error(UNCLOSED_QUOTE, first.span().to(last.span()), first.message.clone())
            .label("quotes do not hold words together here")
            .hint(format!("Only a JSON array keeps the blanks of a path: `{keyword} {example}`."));
        let mut at = 0..;
        self.diagnostics.retain(|diagnostic| at.next() < Some(before) || !is_quote(diagnostic));
        self.diagnostics.push(joined);
    }

    /// Reports a mistake; there is nothing to go on with.
    pub(super) fn fail<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.diagnostics.push(diagnostic);
        None
    }

    fn instruction(&mut self, stage: &mut Stage, at: (usize, usize), instruction: &Instruction) -> Option<()> {
        let head = &instruction.head;
        match &instruction.kind {
            InstructionKind::Add(copy) => self.add_files(stage, head, copy),
            InstructionKind::Copy(copy) => self.copy_files(stage, at, head, copy),
            InstructionKind::Run(run) => self.run(stage, at, head, run),
            InstructionKind::Workdir(path) => self.workdir(stage, head, path),
            InstructionKind::Arg(declarations) => self.arg(stage, declarations),
            InstructionKind::Env(pairs) => self.env(stage, pairs),
            InstructionKind::Label(pairs) => self.label(stage, pairs),
            InstructionKind::Cmd(command) => {
                metadata::cmd(stage, command);
                Some(())
            }
            InstructionKind::Entrypoint(command) => {
                metadata::entrypoint(stage, command);
                Some(())
            }
            InstructionKind::Shell(words) => {
                metadata::shell(stage, words);
                Some(())
            }
            InstructionKind::Healthcheck(check) => {
                metadata::healthcheck(stage, check);
                Some(())
            }
            InstructionKind::Expose(words) => self.expose(stage, words),
            InstructionKind::User(user) => self.user(stage, user),
            InstructionKind::Volume(words) => self.volume(stage, words),
            InstructionKind::Stopsignal(signal) => self.stopsignal(stage, signal),
            InstructionKind::Maintainer(author) => {
                metadata::maintainer(stage, author);
                Some(())
            }
            InstructionKind::Onbuild(onbuild) => {
                stage.config.config.on_build.push(onbuild.text.clone());
                Some(())
            }
            // The parser has said what is wrong with it.
            InstructionKind::Unreadable => None,
        }
    }
}
