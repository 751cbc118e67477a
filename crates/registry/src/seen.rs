//! In which repositories of a registry a blob is, as far as this client knows: what spares questions and uploads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stave_oci::{BlobDigest, Reference};

use crate::client::Client;
use crate::config::registries::Place;

/// Repositories by the registry's host and the blob. What is in here is never trusted for content, only for where to ask.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<(String, BlobDigest), BTreeMap<String, Certainty>>>);

/// How a blob's place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// A manifest there names it, or the caller says so; it may be gone.
    Told,
    /// The registry itself said so to this client.
    Confirmed,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, BlobDigest), BTreeMap<String, Certainty>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, place: &Place, digest: BlobDigest, certainty: Certainty) {
        let mut all = self.lock();
        let known = all.entry((place.host.clone(), digest)).or_default();
        let entry = known.entry(place.repository.clone()).or_insert(certainty);
        *entry = certainty.max(*entry);
    }

    /// Notes that the registry has the blob in this repository.
    pub(crate) fn confirm(&self, place: &Place, digest: BlobDigest) {
        self.add(place, digest, Certainty::Confirmed);
    }

    /// Notes that the blob is said to be in this repository.
    pub(crate) fn tell(&self, place: &Place, digest: BlobDigest) {
        self.add(place, digest, Certainty::Told);
    }

    /// Whether the registry said that it has the blob in this repository.
    pub(crate) fn is_confirmed(&self, place: &Place, digest: BlobDigest) -> bool {
        let all = self.lock();
        all.get(&(place.host.clone(), digest))
            .is_some_and(|known| known.get(&place.repository) == Some(&Certainty::Confirmed))
    }

    /// Returns another repository of the same registry that has the blob; one of `preferred`, if it is among them.
    pub(crate) fn elsewhere(&self, place: &Place, digest: BlobDigest, preferred: &BTreeSet<String>) -> Option<String> {
        let all = self.lock();
        let known = all.get(&(place.host.clone(), digest))?;
        let others = || known.keys().filter(|repository| **repository != place.repository);
        others().find(|repository| preferred.contains(*repository)).or_else(|| others().next()).cloned()
    }
}

impl Client {
    /// Tells the client that the registry has these blobs in the repository of `name`: a push to another repository of
    /// the same registry then takes them from there, where the registry allows it, rather than sending them.
    /// A wrong word costs one request and nothing else.
    pub fn remember(&self, name: &Reference, blobs: impl IntoIterator<Item = BlobDigest>) {
        // A registry that is blocked takes no push either.
        let Ok(place) = self.config.registries.place_to_push(name) else { return };
        for digest in blobs {
            self.seen.tell(&place, digest);
        }
    }
}
