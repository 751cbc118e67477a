//! A build from request to result: read, plan, schedule, compose, write out.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use stave_cache::{ExportSpec, Place};
use stave_dockerfile::parse;
use stave_dockerfile::plan::{PlanOptions, StageLabel, scans};
use stave_graph::{NodeId, Op};
use stave_oci::{Platform, Reference};
use stave_solve::{Options, Outcome};
use stave_store::{BuildId, BuildState, Lease};

use crate::ahead::{self, Progress};
use crate::attest::{self, Attestations, Past};
use crate::base::Bases;
use crate::caches::{self, Caches, Imports, Solved};
use crate::engine::Engine;
use crate::epoch::Epoch;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::export::index_descriptor;
use crate::finish::{self, Built, BuiltImage, Delivered, Finished, FinishedPart, Parcels, ScannedFiles};
use crate::form::{ImageForm, LayerMethod, Regroup};
use crate::joined::Joined;
use crate::limits::LimitGroup;
use crate::named_epoch::Asking;
use crate::outcome::{BuildFailure, BuildOutcome};
use crate::planning::{Planning, plan_options};
use crate::regroup;
use crate::request::{BuildRequest, Grants, Indexing, Keep, OnMiss, Output};
use crate::requests::Recorder;
use crate::run::Run;
use crate::schedule::{running_max, solve};
use crate::source::{Given, Source};
use crate::task::Task;
use crate::told;
use crate::workbench::{self, End};

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
        let started = self.now();
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
            note_unused(&outputs, &joined, events);
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
            times: (wishes.started, self.now()),
        };
        let after = After { solved: &solved, caches: &wishes.caches.to, regroup: wishes.regroup, past: &past };
        if wishes.verify {
            self.build_again(source, target, finished, events)?;
        }
        let images = self.compose_all(lease, finished, &after, wishes.attestations, events)?;
        let built = Built { images, names: names.to_vec(), indexing: wishes.indexing };
        let delivered = finish::deliver(self, lease, &built, (keep, outputs), events)?;
        caches::export(self, lease, &solved, (&wishes.caches.to, &joined.parts[0].platform), events)?;
        Ok(outcome(joined, &built, delivered, finished))
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
        Task::during(events, TaskKind::Other, "build again to verify".to_owned(), |_| {
            self.compare_again(source, target, first, events)
        })
    }

    fn compare_again(
        &self,
        source: &Source,
        target: &BuildTarget<'_>,
        first: &Finished,
        events: Report<'_>,
    ) -> Result<(), BuildFailure> {
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
        let end = match failed {
            _ if self.cancel().is_cancelled() => End::Interrupted,
            true => End::Failed,
            false => End::Built,
        };
        let left = if end == End::Failed { run.take_left() } else { None };
        if let Err(error) = workbench::keep(self, lease, (target, source), run, (end, left)) {
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

/// Says what was given and has no effect: arguments that no `ARG` declares, annotations for platforms that are not built.
fn note_unused(outputs: &[Output], joined: &Joined, events: Report<'_>) {
    // All plans are of one file and the same arguments.
    for name in &joined.parts[0].plan.unused_build_args {
        events(Event::Notice { message: format!("build argument `{name}` is not declared by any `ARG`") });
    }
    let is_built =
        |platform: &Platform| joined.parts.iter().any(|part| part.platform.to_string() == platform.to_string());
    let annotations = outputs.iter().filter_map(Output::form).flat_map(|form| &form.annotations.0);
    let strange = annotations.filter_map(|annotation| Some((&annotation.key, annotation.platform.as_ref()?)));
    let messages: BTreeSet<String> = strange
        .filter(|(_, platform)| !is_built(platform))
        .map(|(key, platform)| format!("the annotation `{key}` is for {platform}, which is not built"))
        .collect();
    for message in messages {
        events(Event::Notice { message });
    }
}

/// Returns what is told of a build that succeeded.
fn outcome(joined: &Joined, built: &Built, delivered: Delivered, finished: &Finished) -> BuildOutcome {
    BuildOutcome {
        image: built.images[0].image.composed.id,
        images: built.images.iter().map(|one| (one.platform.clone(), one.image.composed.id)).collect(),
        index: built.index().map(|bytes| index_descriptor(&bytes)),
        manifest: delivered.manifest,
        is_kept: delivered.is_kept,
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
