//! A build from request to result: read, plan, schedule, compose, write out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use stave_cache::{ExportSpec, Place};
use stave_dockerfile::check::{self, rules};
use stave_dockerfile::plan::{
    Base, BaseRequest, BuildPlan, Facts, Plan, PlanOptions, StageLabel, plan, scans, similar_stage,
};
use stave_dockerfile::{Diagnostic, Dockerfile, Span, parse};
use stave_graph::{NodeId, Op};
use stave_oci::{Descriptor, Platform, Reference};
use stave_solve::{Options, Outcome};
use stave_store::{BuildId, BuildState, Lease};

use crate::ahead::{self, Progress};
use crate::attest::{self, Attestations, Past};
use crate::base::{Bases, KnownBase};
use crate::caches::{self, Caches, Imports, Solved};
use crate::clue;
use crate::engine::Engine;
use crate::epoch::Epoch;
use crate::error::EngineError;
use crate::event::{Event, Remarks, TaskKind};
use crate::export::index_descriptor;
use crate::finish::{self, Built, BuiltImage, Finished, FinishedPart, Parcels, ScannedFiles};
use crate::form::{ImageForm, LayerMethod, Regroup};
use crate::joined::Joined;
use crate::limits::LimitGroup;
use crate::named_epoch::Asking;
use crate::outcome::{BaseFailure, BuildFailure, BuildOutcome, NearName};
use crate::regroup;
use crate::request::{BuildRequest, Grants, Indexing, Keep, OnMiss, Output, PullPolicy};
use crate::requests::Recorder;
use crate::rules::SourceRules;
use crate::run::Run;
use crate::schedule::{running_max, solve};
use crate::source::{Given, Source};
use crate::task::Task;
use crate::told;
use crate::workbench;

/// Where a build tells what happens.
pub(crate) type Report<'a> = &'a (dyn Fn(Event) + Sync);

impl From<EngineError> for BuildFailure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Interrupted => Self::Interrupted,
            error => Self::Environment(Box::new(error)),
        }
    }
}

impl Engine {
    /// Builds what `request` says and tells `events` what happens.
    pub fn build(&self, request: BuildRequest, events: &(dyn Fn(Event) + Sync)) -> Result<BuildOutcome, BuildFailure> {
        let lease = self.lease()?;
        let result = self.build_under(&lease, request, events);
        let result = match (result, self.store.over_limit()) {
            // Whatever failed because of it, the cause is that the store is full, or that the caller wanted an end.
            (Err(_), Some(full)) => Err(EngineError::from(full).into()),
            (Err(_), None) if self.cancel().is_cancelled() => Err(BuildFailure::Interrupted),
            (result, _) => result,
        };
        events(Event::Ended { ending: told::ending(&result) });
        result
    }

    /// Reads what is to be built, begins its entry in the history, and ends that whatever comes of it.
    fn build_under(
        &self,
        lease: &Lease,
        request: BuildRequest,
        events: Report<'_>,
    ) -> Result<BuildOutcome, BuildFailure> {
        let platforms = Self::platforms(&request.platforms);
        let mut options: Vec<_> = platforms.iter().map(|platform| plan_options(&request, platform)).collect();
        let started = (self.settings.now)();
        let facts = told::request_facts(&request, platforms.iter().map(Platform::to_string).collect(), started);
        let BuildRequest { mut context, contexts, dockerfile, reading, tags, keep, outputs, caches, mut epoch, .. } =
            request;
        let is_index = request.indexing.makes_index(platforms.len());
        let wanted = Output::wanted(&outputs, is_index, request.regroup)?;
        let reads_files =
            keep == Keep::Yes || request.verify || request.regroup.is_some() || request.attestations.sbom.is_some();
        let only_pushed = Output::only_pushed(&outputs).filter(|_| !reads_files);
        let allowed =
            request.rules.given((self, (lease, &request.grants, events)), &mut context, &contexts, &dockerfile);
        allowed.inspect_err(|_| request.rules.log.tell(events))?;
        let imports = Imports::start(self, request.use_cache.then_some(&caches), &platforms[0]);
        let given = Given::new(context, contexts, (dockerfile, reading), &options[0]);
        let source = Source::open(self, lease, given, (&request.grants, events))?;
        for options in &mut options {
            options.contexts.clone_from(&source.named.contexts);
        }
        let entry = lease.begin_build(&source.name).map_err(EngineError::from)?;
        told::begun(self, &entry, &source, &facts, events);
        request.rules.log.tell(events);
        let asking = Asking { engine: self, lease, source: &source, grants: &request.grants, events };
        let result = asking.resolve(&mut epoch, &mut options).map_err(BuildFailure::from).and_then(|()| {
            let mut planning = Planning::new((self, lease), &source, (&request.rules, &request.grants), events);
            let plans = planning.plans(&options, request.pull)?;
            let bases = planning.bases;
            let mut joined = Joined::new(platforms.into_iter().zip(plans).collect());
            if request.attestations.sbom.is_some() {
                joined.scan(&scans(&parse(&source.text).file, &options[0]));
            }
            events(Event::Planned { steps: joined.lines(&|id| bases.name(id)) });
            // All plans are of one file and the same arguments.
            for name in &joined.parts[0].plan.unused_build_args {
                events(Event::Notice { message: format!("build argument `{name}` is not declared by any `ARG`") });
            }
            let rerun = rerun(&joined, &request.rerun_stages, events);
            let epochs: Vec<Epoch> =
                joined.parts.iter().map(|part| Epoch::of(&epoch, source.commit, &part.plan, &bases)).collect();
            let recorder = Recorder::new(&request.rules);
            let target = BuildTarget {
                joined: &joined,
                bases: &bases,
                use_cache: request.use_cache,
                rerun: &rerun,
                build: &entry,
                grants: &request.grants,
                epochs: &epochs,
                imports: &imports,
                wanted,
                only_pushed: only_pushed.as_deref(),
                on_miss: request.on_miss,
                exports: &caches.to,
                recorder: &recorder,
            };
            // Whatever is started from here on is a step, or works for one.
            let zygote = self.launcher()?.pidfd();
            let _limits = LimitGroup::enter(&request.limits, crate::container::pid_of(zygote)?, &entry.to_string())?;
            let wishes = Wishes {
                options: &options[0],
                started,
                caches: &caches,
                regroup: request.regroup,
                attestations: &request.attestations,
                verify: request.verify,
                indexing: request.indexing,
            };
            self.build_target((lease, &source), &target, &wishes, (tags, keep, outputs), events)
        });
        self.conclude(lease, &entry, &result)?;
        result
    }

    /// Carries out what was planned, and makes of it what was asked for.
    fn build_target(
        &self,
        (lease, source): (&Lease, &Source),
        target: &BuildTarget<'_>,
        wishes: &Wishes<'_>,
        (names, keep, mut outputs): (Vec<Reference>, Keep, Vec<Output>),
        events: Report<'_>,
    ) -> Result<BuildOutcome, BuildFailure> {
        let told = Told::default();
        loop {
            let finished = match self.carry_out((lease, &told), source, target, events) {
                Err(_) if self.begins_again(target, events) => continue,
                finished => finished?,
            };
            source.save_memory(self);
            // Only what registries are sent can turn out to be missing so late.
            let again = Output::pushed_again(&outputs);
            let made = self.make((lease, source), target, wishes, (&finished, &names, keep, outputs), events);
            match again {
                Some(again) if made.is_err() && self.begins_again(target, events) => outputs = again,
                _ => return made,
            }
        }
    }

    /// Whether something that a cache was relied on to have is not there: then the build begins again without it. What has
    /// run meanwhile is known.
    fn begins_again(&self, target: &BuildTarget<'_>, events: Report<'_>) -> bool {
        let again = target.imports.take_gap() && !self.cancel().is_cancelled();
        if again {
            let message = "the build goes on without what a cache has lost".to_owned();
            events(Event::Notice { message });
        }
        again
    }

    /// Makes of what the steps left what was asked for.
    fn make(
        &self,
        (lease, source): (&Lease, &Source),
        target: &BuildTarget<'_>,
        wishes: &Wishes<'_>,
        (finished, names, keep, outputs): (&Finished, &[Reference], Keep, Vec<Output>),
        events: Report<'_>,
    ) -> Result<BuildOutcome, BuildFailure> {
        let BuildTarget { joined, imports, epochs, .. } = *target;
        let solved = Solved {
            graph: &joined.graph,
            targets: &joined.targets(),
            selections: &finished.selections,
            title: &|node| joined.title(node),
            times: epochs[0].files,
            imports,
            parcels: &finished.parcels,
        };
        let past = Past {
            source,
            options: wishes.options,
            grants: target.grants,
            target,
            found: &finished.found,
            names,
            times: (wishes.started, (self.settings.now)()),
        };
        let after = After { solved: &solved, caches: &wishes.caches.to, regroup: wishes.regroup, past: &past };
        if wishes.verify {
            self.build_again(source, target, finished, events)?;
        }
        let images = self.compose_all(lease, finished, &after, wishes.attestations, events)?;
        let built = Built { images, names: names.to_vec(), indexing: wishes.indexing };
        let manifest = finish::deliver(self, lease, &built, (keep, outputs), events)?;
        caches::export(self, lease, &solved, (&wishes.caches.to, &joined.parts[0].platform), events)?;
        Ok(outcome(joined, &built, manifest, finished))
    }

    /// Composes the images, and says about them what is to be said.
    fn compose_all(
        &self,
        lease: &Lease,
        finished: &Finished,
        after: &After<'_>,
        attestations: &Attestations,
        events: Report<'_>,
    ) -> Result<Vec<BuiltImage>, EngineError> {
        let BuildTarget { joined, bases, epochs, wanted, .. } = *after.past.target;
        let mut images = Vec::new();
        for (place, ((part, finished_part), epoch)) in joined.parts.iter().zip(&finished.parts).zip(epochs).enumerate()
        {
            let how = (*epoch, wanted);
            let mut image = finish::compose_image((self, lease), &part.plan, bases, finished_part, how, events)?;
            caches::carry(self, lease, after.solved, after.caches, &mut image, events)?;
            image = regroup::regrouped(self, lease, image, after.regroup, events)?;
            let platform = part.platform.clone();
            let extras: Vec<&ScannedFiles> = finished.extras.iter().filter(|extra| extra.part == place).collect();
            let statements =
                attest::state((self, lease), attestations, after.past, (&platform, &image, &extras), events)?;
            images.push(BuiltImage { platform, image, statements });
        }
        Ok(images)
    }

    /// Writes the end of a build into the history, and keeps that within its limits.
    fn conclude(
        &self,
        lease: &Lease,
        build: &BuildId,
        result: &Result<BuildOutcome, BuildFailure>,
    ) -> Result<(), EngineError> {
        let (state, image) = match result {
            Ok(outcome) => (BuildState::Done, Some(&outcome.image)),
            Err(_) if self.cancel().is_cancelled() => (BuildState::Interrupted, None),
            Err(_) => (BuildState::Failed, None),
        };
        lease.finish_build(build, state, image)?;
        self.store.trim_builds(self.store.history_limit()?)?;
        Ok(())
    }

    /// Builds everything once more, with nothing that an earlier build made, and compares it with what `first` left.
    fn build_again(
        &self,
        source: &Source,
        target: &BuildTarget<'_>,
        first: &Finished,
        events: Report<'_>,
    ) -> Result<(), BuildFailure> {
        let _task = Task::start(events, TaskKind::Other, "build again to verify".to_owned());
        let lease = self.lease()?;
        let target = BuildTarget { use_cache: false, on_miss: OnMiss::Run, exports: &[], ..*target };
        // The steps were told of already.
        let second = self.carry_out((&lease, &Told::default()), source, &target, &|event| {
            if let Event::Notice { .. } = event {
                events(event);
            }
        })?;
        for (index, part) in target.joined.parts.iter().enumerate() {
            let compose = |finished: &Finished| {
                let how = (target.epochs[index], target.wanted);
                finish::compose_image((self, &lease), &part.plan, target.bases, &finished.parts[index], how, events)
            };
            let comparison = self.compare_ready(&compose(first)?, &compose(&second)?)?;
            if !comparison.is_equal() {
                return Err(BuildFailure::NotReproducible(Box::new(comparison)));
            }
        }
        Ok(())
    }

    fn carry_out(
        &self,
        (lease, told): (&Lease, &Told),
        source: &Source,
        target: &BuildTarget<'_>,
        events: Report<'_>,
    ) -> Result<Finished, BuildFailure> {
        let BuildTarget { joined, use_cache, .. } = *target;
        let running_max = running_max(self.settings.cpus).get();
        let options = Options { running_max, use_cache, rerun: target.rerun.clone() };
        let progress = Progress::default();
        thread::scope(|scope| {
            let (made, layers) = channel();
            // With one processor it would only be in the way of the steps.
            if self.settings.cpus > 1 {
                let times = target.epochs.iter().map(|epoch| epoch.files).collect();
                let progress = &progress;
                scope.spawn(move || ahead::digest((self, lease), &layers, (&times, target.wanted), progress));
            }
            let run = Run::new(self, lease, source, *target, events, (made, told));
            let outcome = match run.forbidden() {
                Some(node) => Outcome::Failed { node },
                None => solve(&joined.graph, &joined.wanted(), options, &run),
            };
            progress.end(matches!(outcome, Outcome::Done(_)));
            if target.imports.has_gap() {
                return Err(EngineError::request("a cache has lost what it had", None).into());
            }
            self.describe_states(lease, source, target, &run, matches!(outcome, Outcome::Failed { .. }));
            match outcome {
                Outcome::Done(snapshots) => {
                    let (mut parts, mut snapshots) = (Vec::new(), snapshots.into_iter());
                    for (part, snapshot) in joined.parts.iter().zip(snapshots.by_ref()) {
                        let snapshot = run.settled(part.target(), snapshot)?;
                        let times = run.times(&part.plan, &snapshot)?;
                        parts.push(FinishedPart { snapshot, times });
                    }
                    let extras = run.extras(snapshots)?;
                    let (steps_run, steps_cached) = run.counts();
                    let found = run.found();
                    let parcels = parcels(&run, target.exports);
                    run.keep(true);
                    let selections = run.into_selections();
                    Ok(Finished { parts, extras, steps_run, steps_cached, selections, found, parcels })
                }
                Outcome::Failed { node } => {
                    // What was only looked at is nothing that the next build is compared with.
                    if target.on_miss != OnMiss::Fail {
                        run.keep(false);
                    }
                    Err(run.into_failure(node))
                }
            }
        })
    }
}

impl Engine {
    /// Writes down how the states of the steps can be entered later. A build is no other for it, so what fails is told.
    fn describe_states(&self, lease: &Lease, source: &Source, target: &BuildTarget<'_>, run: &Run<'_>, failed: bool) {
        if self.cancel().is_cancelled() {
            return;
        }
        let left = if failed { run.take_left() } else { None };
        if let Err(error) = workbench::keep(self, lease, (target, source), run, left) {
            run.note(&format!("the states of this build's steps are not kept: {error}"));
        }
    }
}

/// Returns what the steps were made from, as far as a cache that is written takes it along.
fn parcels(run: &Run<'_>, exports: &[ExportSpec]) -> Parcels {
    let (inline, elsewhere): (Vec<_>, Vec<_>) = exports.iter().partition(|spec| matches!(spec.place, Place::Inline));
    let parcel = |inline: bool, specs: &[&ExportSpec]| (!specs.is_empty()).then(|| run.parcel(inline));
    Parcels { whole: parcel(false, &elsewhere), inline: parcel(true, &inline) }
}

/// What is known when all steps have run.
struct After<'a> {
    solved: &'a Solved<'a>,
    caches: &'a [ExportSpec],
    regroup: Option<Regroup>,
    past: &'a Past<'a>,
}

/// What is wanted of a build beside its steps.
struct Wishes<'a> {
    options: &'a PlanOptions,
    /// When the build began, in seconds since 1970.
    started: i64,
    caches: &'a Caches,
    regroup: Option<Regroup>,
    attestations: &'a Attestations,
    verify: bool,
    indexing: Indexing,
}

/// Returns what is told of a build that succeeded.
fn outcome(joined: &Joined, built: &Built, manifest: Option<Descriptor>, finished: &Finished) -> BuildOutcome {
    BuildOutcome {
        image: built.images[0].image.composed.id,
        images: built.images.iter().map(|one| (one.platform.clone(), one.image.composed.id)).collect(),
        index: built.index().map(|bytes| index_descriptor(&bytes)),
        manifest,
        size: built.images.iter().map(|one| one.image.size()).sum(),
        names: built.names.iter().map(Reference::to_string).collect(),
        layers: built
            .images
            .iter()
            .enumerate()
            .map(|(part, one)| told::layer_lines(joined, part, &one.image))
            .collect(),
        steps_run: finished.steps_run,
        steps_cached: finished.steps_cached,
    }
}

/// Returns what the plan for one platform is told of a request.
pub(crate) fn plan_options(request: &BuildRequest, platform: &Platform) -> PlanOptions {
    PlanOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        platform: platform.clone(),
        build_platform: Platform::host(),
        network: request.network,
        run: request.run.clone(),
        contexts: BTreeMap::new(),
    }
}

/// What is to be carried out.
#[derive(Clone, Copy)]
pub(crate) struct BuildTarget<'a> {
    pub(crate) joined: &'a Joined,
    pub(crate) bases: &'a Bases,
    /// Whether results of earlier builds may be used.
    pub(crate) use_cache: bool,
    /// Steps for which they may not.
    pub(crate) rerun: &'a BTreeSet<NodeId>,
    /// The build's entry in the history.
    pub(crate) build: &'a BuildId,
    /// What of the caller's the steps may use.
    pub(crate) grants: &'a Grants,
    /// The times that the images get, in the order of the plans.
    pub(crate) epochs: &'a [Epoch],
    /// What other machines have made.
    pub(crate) imports: &'a Imports,
    /// How an output wants layers to be compressed.
    pub(crate) wanted: Option<LayerMethod>,
    /// The forms in which registries get the result, if nothing else is to be made of it.
    pub(crate) only_pushed: Option<&'a [ImageForm]>,
    /// What is done about steps that are not known.
    pub(crate) on_miss: OnMiss,
    /// The caches that are written.
    pub(crate) exports: &'a [ExportSpec],
    /// Who decides about what steps ask of the network, where that is recorded.
    pub(crate) recorder: &'a Recorder,
}

/// Everything that a plan is made from, and the bases found so far.
pub(crate) struct Planning<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) lease: &'a Lease,
    pub(crate) source: &'a Source,
    pub(crate) rules: &'a SourceRules,
    pub(crate) grants: &'a Grants,
    pub(crate) events: Report<'a>,
    pub(crate) bases: Bases,
}

impl<'a> Planning<'a> {
    pub(crate) fn new(
        (engine, lease): (&'a Engine, &'a Lease),
        source: &'a Source,
        (rules, grants): (&'a SourceRules, &'a Grants),
        events: Report<'a>,
    ) -> Self {
        Self { engine, lease, source, rules, grants, events, bases: Bases::default() }
    }

    /// Plans for each platform, finds the bases that the plans ask for, and plans again, until nothing is missing.
    ///
    /// What is to be said about the file is said once, whichever of the plans says it.
    pub(crate) fn plans(&mut self, options: &[PlanOptions], pull: PullPolicy) -> Result<Vec<BuildPlan>, BuildFailure> {
        let parsed = parse(&self.source.text);
        let file: Dockerfile = parsed.file;
        let mut facts = Facts { ignored: self.source.ignored.clone(), ..Facts::default() };
        let mut settled = BTreeSet::new();
        loop {
            let (mut plans, mut needed, mut told) = (Vec::new(), Vec::new(), parsed.diagnostics.clone());
            for options in options {
                let (plan, found) = plan(&file, options, &facts);
                let diagnostics: Vec<Diagnostic> = parsed.diagnostics.iter().cloned().chain(found.clone()).collect();
                match plan {
                    _ if diagnostics.iter().any(Diagnostic::is_error) => {
                        return Err(self.invalid(check::settle(&file, &check_config(&file, options)?, diagnostics)));
                    }
                    Plan::Invalid => return Err(self.invalid(diagnostics)),
                    Plan::Need(requests) => add_new(&mut needed, requests),
                    Plan::Ready(plan) => {
                        add_new(&mut told, found);
                        add_new(&mut told, plan.findings.clone());
                        plans.push(*plan);
                    }
                }
            }
            let is_settled = needed.is_empty() && self.telling(|this| this.settle(&plans, &mut settled, &mut facts))?;
            if is_settled {
                self.tell(&file, &options[0], told)?;
                return Ok(plans);
            }
            self.telling(|this| this.find_bases(&file, &needed, pull, &mut facts))?;
        }
    }

    /// Does something, and tells what policies have printed meanwhile, whatever came of it.
    fn telling<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let result = work(self);
        self.rules.log.tell(self.events);
        result
    }

    /// Asks the rules about what the plans read of the network. Returns whether the plans are as they should be; if not,
    /// `facts` say what is to be read instead.
    fn settle(&self, plans: &[BuildPlan], settled: &mut BTreeSet<Op>, facts: &mut Facts) -> Result<bool, BuildFailure> {
        let (before, mut objections) = (facts.replaced.len(), Vec::new());
        for plan in plans {
            for node in plan.graph.reachable(plan.target) {
                let operation = plan.graph.op(node);
                if !matches!(operation, Op::Http(_) | Op::Git(_)) || !settled.insert(operation.clone()) {
                    continue;
                }
                match self.judged(operation)? {
                    Ok(same) if same == *operation => {}
                    Ok(other) => {
                        settled.insert(other.clone());
                        facts.replaced.insert(operation.clone(), other);
                    }
                    Err(objection) => add_new(&mut objections, vec![objection.at(plan.span(plan.graph.origin(node)))]),
                }
            }
        }
        if !objections.is_empty() {
            return Err(self.invalid(objections));
        }
        Ok(facts.replaced.len() == before)
    }

    fn invalid(&self, diagnostics: Vec<Diagnostic>) -> BuildFailure {
        BuildFailure::Dockerfile { name: self.source.name.clone(), text: self.source.text.clone(), diagnostics }
    }

    /// Tells warnings and findings. Where the file makes its findings errors, they end the build.
    fn tell(&self, file: &Dockerfile, options: &PlanOptions, all: Vec<Diagnostic>) -> Result<(), BuildFailure> {
        let settled = check::settle(file, &check_config(file, options)?, all);
        if settled.iter().any(Diagnostic::is_error) {
            return Err(self.invalid(settled));
        }
        let (findings, diagnostics): (Vec<_>, Vec<_>) =
            settled.into_iter().partition(|diagnostic| rules::find(diagnostic.code).is_some());
        let (name, text) = (&self.source.name, &self.source.text);
        if !diagnostics.is_empty() {
            (self.events)(Event::Warnings(Remarks { name: name.clone(), text: text.clone(), diagnostics }));
        }
        if !findings.is_empty() {
            (self.events)(Event::Findings(Remarks { name: name.clone(), text: text.clone(), diagnostics: findings }));
        }
        Ok(())
    }

    /// Finds all `requests` at once. What fails is a mistake at the words that name the image.
    fn find_bases(
        &mut self,
        file: &Dockerfile,
        requests: &[(BaseRequest, Span)],
        pull: PullPolicy,
        facts: &mut Facts,
    ) -> Result<(), BuildFailure> {
        let (mut meant, mut objections) = (Vec::new(), Vec::new());
        for (request, span) in requests {
            match self.rules.image(request).and_then(|image| self.rules.judge_image(request, image, None)) {
                Ok(image) => meant.push((request, span, image)),
                Err(objection) => objections.push(objection.at(*span)),
            }
        }
        if !objections.is_empty() {
            return Err(self.invalid(objections));
        }
        let found = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (request, span, judged) in meant {
                let (found, engine, lease, events) = (&found, self.engine, self.lease, self.events);
                let named = &self.source.named;
                scope.spawn(move || {
                    let base = named.find_meant(engine, lease, (request, judged.image.clone()), pull, events);
                    found
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((request, *span, judged, base));
                });
            }
        });
        for (request, span, judged, base) in found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let unfound = |error| self.unfound(file, request, span, error);
            let base: KnownBase = base.map_err(unfound)?;
            let base = match self.told(request, judged, base, pull).map_err(unfound)? {
                Ok(base) => base,
                Err(objection) => return Err(self.invalid(vec![objection.at(span)])),
            };
            facts.bases.insert(request.clone(), Base { id: base.id, config: base.config.clone() });
            self.bases.add(request.clone(), base);
        }
        Ok(())
    }

    /// Returns the platform for which the store has an image, if that is not the one that is asked for.
    fn other_platform(&self, request: &BaseRequest) -> Option<String> {
        let found = self.engine.platform_here(&request.reference)?;
        (!found.runs_on(&request.platform)).then(|| found.to_string())
    }

    fn unfound(&self, file: &Dockerfile, request: &BaseRequest, span: Span, error: EngineError) -> BuildFailure {
        match error {
            EngineError::Interrupted => BuildFailure::Interrupted,
            error => BuildFailure::Base(Box::new(BaseFailure {
                name: self.source.name.clone(),
                text: self.source.text.clone(),
                span,
                image: request.reference.clone(),
                near: similar_stage(file, &request.reference)
                    .map(NearName::Stage)
                    .or_else(|| self.other_platform(request).map(NearName::OtherPlatform))
                    .or_else(|| self.engine.similar_image(&request.reference).map(NearName::Image)),
                reach: clue::reach(&error, &self.engine.settings.registries.http),
                error,
            })),
        }
    }
}

/// Returns what the file says about its checks, or the build argument that takes its place.
pub(crate) fn check_config(file: &Dockerfile, options: &PlanOptions) -> Result<check::Config, EngineError> {
    let Some(given) = options.build_args.get(check::BUILD_ARG) else { return Ok(check::Config::of_file(file)) };
    check::Config::parse(given).map_err(|problem| {
        let hint = "Write it as in a `# check=` line: `skip=StageNameCasing,UndefinedVar;error=true`.";
        EngineError::request(format!("build argument `{}`: {problem}", check::BUILD_ARG), Some(hint))
    })
}

/// Adds to `known` what several plans have in common only once.
pub(crate) fn add_new<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
    let before = known.len();
    for one in more {
        // What one plan says twice, it says twice.
        if !known[..before].contains(&one) {
            known.push(one);
        }
    }
}

/// Returns the nodes of all steps in these stages. A name that no stage has is told: a filter with a slip of the pen
/// would otherwise use what it should not.
fn rerun(joined: &Joined, stages: &[String], events: Report<'_>) -> BTreeSet<NodeId> {
    let mut rerun = BTreeSet::new();
    for wanted in stages {
        let is_meant = |stage: &StageLabel| {
            // One without a name is called `stage-N` wherever it is shown.
            stage_name(stage).eq_ignore_ascii_case(wanted) || wanted.parse() == Ok(stage.index)
        };
        let steps = joined.steps.iter().filter(|step| is_meant(&step.planned().stage));
        let nodes: Vec<NodeId> = steps.map(|step| step.node).collect();
        if nodes.is_empty() {
            let message = format!("`--no-cache-filter {wanted}` is about no step of this build");
            events(Event::Notice { message });
        }
        for node in nodes {
            rerun.insert(node);
            // A linked copy is made for itself, and merged.
            if let Op::Merge(merge) = joined.graph.op(node) {
                rerun.insert(merge.upper);
            }
        }
    }
    rerun
}

/// Returns the name of a stage, or `stage-N` for one without.
pub(crate) fn stage_name(stage: &StageLabel) -> String {
    stage.name.clone().unwrap_or_else(|| format!("stage-{}", stage.index))
}

/// A set of nodes that were told about already.
pub(crate) type Told = Mutex<BTreeSet<NodeId>>;
