//! Reads a Dockerfile as a build would, and checks it without building.
//!
//! Of the bases only the configurations are asked for; one that cannot be had is said and done without.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use stave_dockerfile::plan::{Base, BaseRequest, Facts, PlanOptions, Survey, survey};
use stave_dockerfile::{Diagnostic, Parse, Span, check, parse};
use stave_store::Lease;

use crate::base::KnownBase;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::outcome::BuildFailure;
use crate::planning::{Planning, add_new, check_config, plan_options};
use crate::request::{BuildRequest, PullPolicy};
use crate::rules::Objection;
use crate::source::{Given, Source};

/// A Dockerfile, and what a build of it would be asked.
pub struct Reading {
    /// The file's name, as the user gave it.
    pub name: String,
    /// The file's text.
    pub text: String,
    /// The same, parsed, with its mistakes.
    pub parsed: Parse,
    /// What is asked beside it.
    pub options: PlanOptions,
}

/// A Dockerfile that was checked.
pub struct Checked {
    /// The file.
    pub reading: Reading,
    /// What is wrong with it, and warnings that are no findings.
    pub mistakes: Vec<Diagnostic>,
    /// What the checks found that the file wants to hear, in its order.
    pub findings: Vec<Diagnostic>,
    /// Base images that cannot be had, and why. What depends on them was not checked.
    pub absent: Vec<(String, EngineError)>,
}

impl Engine {
    /// Reads the Dockerfile of a build, and nothing else of it.
    pub fn read_dockerfile(
        &self,
        request: BuildRequest,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Reading, BuildFailure> {
        let lease = self.lease()?;
        Ok(self.read_under(&lease, request, events)?.0)
    }

    /// Checks the Dockerfile of a build for all its platforms: what the target needs, or all of it where there is no
    /// target. What is found for several platforms is found once.
    pub fn check_dockerfile(
        &self,
        request: BuildRequest,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Checked, BuildFailure> {
        let lease = self.lease()?;
        let (pull, platforms) = (request.pull, Self::platforms(&request.platforms));
        let (rules, grants) = (request.rules.clone(), request.grants.clone());
        let (reading, source) = self.read_under(&lease, request, events)?;
        let mut facts = Facts { ignored: source.ignored.clone(), ..Facts::default() };
        let planning = Planning::new((self, &lease), &source, (&rules, &grants), events);
        let file = &reading.parsed.file;
        let config = check_config(file, &reading.options)?;
        let (mut absent, mut denied) = (Vec::new(), Vec::new());
        let all = loop {
            let mut all = reading.parsed.diagnostics.clone();
            add_new(&mut all, denied.clone());
            let mut needed = Vec::new();
            for platform in &platforms {
                let options = PlanOptions { platform: platform.clone(), ..reading.options.clone() };
                let Survey { mistakes, findings, missing, .. } = survey(file, &options, &facts);
                add_new(&mut all, mistakes);
                add_new(&mut all, findings);
                add_new(&mut needed, missing);
            }
            let mut seen = BTreeSet::new();
            needed.retain(|(request, _): &(BaseRequest, Span)| seen.insert(request.clone()));
            // A file with mistakes is not built, so nothing is asked for it.
            if needed.is_empty() || all.iter().any(Diagnostic::is_error) {
                break all;
            }
            let found = planning.find_apart(needed, pull);
            rules.log.tell(events);
            for (request, span, base) in found {
                match base {
                    Ok(Ok(base)) => drop(facts.bases.insert(request, Base { id: base.id, config: base.config })),
                    Ok(Err(objection)) => {
                        denied.push(objection.at(span));
                        facts.absent.insert(request);
                    }
                    Err(EngineError::Interrupted) => return Err(BuildFailure::Interrupted),
                    Err(error) => {
                        absent.push((request.reference.clone(), error));
                        facts.absent.insert(request);
                    }
                }
            }
        };
        let (findings, mistakes) = check::settle(file, &config, all)
            .into_iter()
            .partition(|diagnostic| check::rules::find(diagnostic.code).is_some());
        Ok(Checked { reading, mistakes, findings, absent })
    }

    fn read_under(
        &self,
        lease: &Lease,
        request: BuildRequest,
        events: Report<'_>,
    ) -> Result<(Reading, Source), BuildFailure> {
        let mut options = plan_options(&request, &Self::platforms(&request.platforms)[0]);
        let BuildRequest { mut context, contexts, dockerfile, reading, grants, rules, .. } = request;
        let allowed = rules.given((self, (lease, &grants, events)), &mut context, &contexts, &dockerfile);
        rules.log.tell(events);
        allowed?;
        let given = Given::new(context, contexts, (dockerfile, reading), &options);
        let source = Source::open(self, lease, given, (&grants, events))?;
        options.contexts.clone_from(&source.named.contexts);
        let parsed = parse(&source.text);
        Ok((Reading { name: source.name.clone(), text: source.text.clone(), parsed, options }, source))
    }
}

/// An image that was looked for: what it is, or which policy denies it, or why it cannot be had.
type Sought = (BaseRequest, Span, Result<Result<KnownBase, Objection>, EngineError>);

impl Planning<'_> {
    /// Finds images, all at once, that policies do not deny. What one of them is does not depend on the others.
    fn find_apart(&self, requests: Vec<(BaseRequest, Span)>, pull: PullPolicy) -> Vec<Sought> {
        let (mut allowed, mut found) = (Vec::new(), Vec::new());
        for (request, span) in requests {
            match self.rules.image(&request).and_then(|image| self.rules.judge_image(&request, image, None)) {
                Ok(judged) => allowed.push((request, span, judged)),
                Err(objection) => found.push((request, span, Ok(Err(objection)))),
            }
        }
        let bases = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (request, span, judged) in allowed {
                let (bases, engine, lease, events) = (&bases, self.engine, self.lease, self.events);
                let named = &self.source.named;
                scope.spawn(move || {
                    let base = named.find_meant(engine, lease, (&request, judged.image.clone()), pull, events);
                    bases.lock().unwrap_or_else(PoisonError::into_inner).push((request, span, judged, base));
                });
            }
        });
        for (request, span, judged, base) in bases.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let base = base.and_then(|base| self.told(&request, judged, base, pull));
            found.push((request, span, base));
        }
        found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        found
    }
}
