//! Makes a lock: finds out what each source of a Dockerfile is now, and builds nothing.

use std::collections::btree_map::Entry;

use stave_dockerfile::parse;
use stave_dockerfile::plan::BaseRequest;
use stave_graph::Op;
use stave_oci::{BlobDigest, Reference};
use stave_policy::{ImageEntry, ImagePin, Lock};
use stave_store::Lease;

use crate::base::Bases;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::outcome::BuildFailure;
use crate::planning::{Planning, plan_options};
use crate::remote::Wanted;
use crate::request::{BuildRequest, Grants};
use crate::rules::{Meant, SourceRules, file_entry, pinned, repository_entry};
use crate::source::{Given, Source};

impl Engine {
    /// Finds out what the sources of `request` are now: those that its target needs, or where it has no target, those of
    /// all stages. Images that are here are taken as they are here, unless the request says that they are to be pulled.
    ///
    /// Sources that are pinned in the Dockerfile itself, directories and OCI layouts have no entry.
    pub fn lock_sources(&self, request: BuildRequest, events: &(dyn Fn(Event) + Sync)) -> Result<Lock, BuildFailure> {
        let lease = self.lease()?;
        let result = self.lock_under(&lease, request, events);
        match result {
            Err(_) if self.cancel().is_cancelled() => Err(BuildFailure::Interrupted),
            result => result,
        }
    }

    fn lock_under(&self, lease: &Lease, request: BuildRequest, events: Report<'_>) -> Result<Lock, BuildFailure> {
        let mut options: Vec<_> =
            Self::platforms(&request.platforms).iter().map(|platform| plan_options(&request, platform)).collect();
        let BuildRequest { mut context, contexts, dockerfile, reading, grants, rules, pull, .. } = request;
        let allowed = rules.given((self, (lease, &grants, events)), &mut context, &contexts, &dockerfile);
        rules.log.tell(events);
        allowed?;
        let given = Given::new(context, contexts, (dockerfile, reading), &options[0]);
        let source = Source::open(self, lease, given, (&grants, events))?;
        for options in &mut options {
            options.contexts.clone_from(&source.named.contexts);
        }
        if options[0].target.is_none() {
            let stages = parse(&source.text).file.stages.len();
            let each = |number: usize| {
                options.iter().cloned().map(move |mut options| {
                    options.target = Some(number.to_string());
                    options
                })
            };
            // The last stage is said by nothing; so is the mistake of a file without any.
            options = (0..stages.saturating_sub(1)).flat_map(each).chain(options.iter().cloned()).collect();
        }
        let mut planning = Planning::new((self, lease), &source, (&rules, &grants), events);
        let plans = planning.plans(&options, pull)?;
        let mut lock = Lock::default();
        lock_images(&planning.bases, &rules, &mut lock)?;
        for plan in &plans {
            for node in plan.graph.reachable(plan.target) {
                self.lock_operation((lease, &grants, events), plan.graph.op(node), &mut lock)?;
            }
        }
        Ok(lock)
    }

    fn lock_operation(
        &self,
        (lease, grants, events): (&Lease, &Grants, Report<'_>),
        operation: &Op,
        lock: &mut Lock,
    ) -> Result<(), EngineError> {
        match operation {
            Op::Http(http) if http.checksum.is_none() => {
                if let Entry::Vacant(entry) = lock.files.entry(file_entry(&http.url)) {
                    entry.insert(self.examine_file(lease, &http.url, grants, events)?.digest);
                }
            }
            Op::Git(git) if pinned(&git.source).is_none() => {
                if let Entry::Vacant(entry) = lock.repositories.entry(repository_entry(&git.source).0) {
                    let wanted = Wanted { source: &git.source, grants, by_caller: false };
                    entry.insert(self.resolve_commit(lease, wanted, events)?.commit);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn lock_images(bases: &Bases, rules: &SourceRules, lock: &mut Lock) -> Result<(), EngineError> {
    let open = SourceRules { lock: None, ..rules.clone() };
    for (BaseRequest { reference, platform }, base) in bases.all() {
        let request = BaseRequest { reference: reference.clone(), platform: platform.clone() };
        // What has a digest is pinned already, and a layout has no such name.
        let Meant::Name(name) = open.image(&request)? else { continue };
        let Ok(reference) = name.parse::<Reference>() else { continue };
        if reference.digest.is_some() {
            continue;
        }
        let entry = ImageEntry { name: reference.to_string(), platform: platform.to_string() };
        let digest: Option<BlobDigest> = base.digest();
        lock.images.insert(entry, digest.map_or(ImagePin::Local(base.id), ImagePin::Manifest));
    }
    Ok(())
}
