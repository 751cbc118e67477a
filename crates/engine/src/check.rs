//! Reads a Dockerfile as a build would, and checks it without building.
//!
//! Of the bases only the configurations are asked for; one that cannot be had is said and done without.

use std::sync::{Mutex, PoisonError};
use std::thread;

use stave_dockerfile::plan::{Base, BaseRequest, Facts, PlanOptions, Survey, survey};
use stave_dockerfile::{Diagnostic, Parse, check, parse};
use stave_store::Lease;

use crate::build::{Report, add_new, check_config, plan_options};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::outcome::BuildFailure;
use crate::request::{BuildRequest, PullPolicy};
use crate::source::{Given, Named, Source};

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
    pub fn read_dockerfile(&self, request: BuildRequest) -> Result<Reading, BuildFailure> {
        let lease = self.lease()?;
        Ok(self.read_under(&lease, request, &|_| ())?.0)
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
        let (reading, mut facts, named) = self.read_under(&lease, request, events)?;
        let file = &reading.parsed.file;
        let config = check_config(file, &reading.options)?;
        let mut absent = Vec::new();
        let all = loop {
            let mut all = reading.parsed.diagnostics.clone();
            let mut needed = Vec::new();
            for platform in &platforms {
                let options = PlanOptions { platform: platform.clone(), ..reading.options.clone() };
                let Survey { mistakes, findings, missing, .. } = survey(file, &options, &facts);
                add_new(&mut all, mistakes);
                add_new(&mut all, findings);
                add_new(&mut needed, missing.into_iter().map(|(request, _)| request).collect());
            }
            // A file with mistakes is not built, so nothing is asked for it.
            if needed.is_empty() || all.iter().any(Diagnostic::is_error) {
                break all;
            }
            for (request, base) in self.find_bases((&lease, &named), needed, pull, events) {
                match base {
                    Ok(base) => drop(facts.bases.insert(request, base)),
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
    ) -> Result<(Reading, Facts, Named), BuildFailure> {
        let mut options = plan_options(&request, &Self::platforms(&request.platforms)[0]);
        let BuildRequest { context, contexts, dockerfile, reading, grants, .. } = request;
        let given = Given::new(context, contexts, (dockerfile, reading), &options.build_args);
        let Source { name, text, ignored, named, .. } = Source::open(self, lease, given, (&grants, events))?;
        options.contexts.clone_from(&named.contexts);
        let parsed = parse(&text);
        Ok((Reading { name, text, parsed, options }, Facts { ignored, ..Facts::default() }, named))
    }

    /// Finds the configurations of bases, all at once.
    fn find_bases(
        &self,
        (lease, named): (&Lease, &Named),
        requests: Vec<BaseRequest>,
        pull: PullPolicy,
        events: Report<'_>,
    ) -> Vec<(BaseRequest, Result<Base, EngineError>)> {
        let found = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for request in requests {
                let found = &found;
                scope.spawn(move || {
                    let base = named.find_base(self, lease, &request, pull, events);
                    let base = base.map(|base| Base { id: base.id, config: base.config });
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((request, base));
                });
            }
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }
}
