//! From the text of a Dockerfile to plans that lack nothing: the bases that they ask for are found, and the rules are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::thread;

use stave_dockerfile::check::{self, rules};
use stave_dockerfile::plan::{
    Base, BaseRequest, BuildPlan, Facts, Plan, PlanOptions, plan, similar_stage, stage_named,
};
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Dockerfile, Span, parse};
use stave_graph::Op;
use stave_oci::Platform;
use stave_store::Lease;

use crate::base::{Bases, KnownBase};
use crate::build::Report;
use crate::clue;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, Remarks};
use crate::outcome::{BaseFailure, BuildFailure, NearName};
use crate::request::{BuildRequest, Grants, PullPolicy};
use crate::rules::SourceRules;
use crate::source::Source;

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
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((request, *span, judged, base));
                });
            }
        });
        for (request, span, judged, base) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
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
                near: stage_named(file, &request.reference)
                    .map(|at| NearName::LaterStage(position(&self.source.text, at.start).line))
                    .or_else(|| similar_stage(file, &request.reference).map(NearName::Stage))
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
