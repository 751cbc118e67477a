//! Single blobs of a repository, whatever they are parts of: caches are kept in registries too.

use stave_oci::{Descriptor, Reference};
use ureq::http::Method;

use crate::client::{Client, FoundManifest, OpenBlob, PushProgress, Source};
use crate::error::RegistryError;
use crate::pull;
use crate::push::upload_blobs;
use stave_http::Request;

impl Client {
    /// Finds the manifest or index that `reference` names where it would be pushed to: no mirror is asked.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is none; else what the registry said.
    pub fn manifest_to_push(&self, reference: &Reference) -> Result<FoundManifest, RegistryError> {
        let place = self.config.registries.place_to_push(reference)?;
        let fetched = self.named(&self.open(&place, true)?, reference)?;
        let pull::Fetched { document, bytes, media_type, digest } = fetched;
        Ok(FoundManifest { document, bytes, media_type, digest, source: Source { places: vec![place] } })
    }

    /// Sends the blobs that are not there yet to the repository of `reference`, several at once.
    ///
    /// # Errors
    /// The first blob that could not be read or sent.
    pub fn send_parts(
        &self,
        reference: &Reference,
        blobs: &[(Descriptor, OpenBlob)],
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<(), RegistryError> {
        upload_blobs(&self.open_to_push(reference)?, blobs.iter(), progress)
    }

    /// Whether a blob is where something that names it was found, without fetching it.
    ///
    /// # Errors
    /// What the last place said, if none could be asked.
    pub fn has_part(&self, source: &Source, blob: &Descriptor) -> Result<bool, RegistryError> {
        let mut last = None;
        for place in &source.places {
            let asked = self.open(place, false).and_then(|repository| {
                let head = Request::new(Method::HEAD, repository.url(&format!("blobs/{}", blob.digest)));
                let reply = repository.send(head).map_err(|failure| failure.error)?;
                match reply.status {
                    200 => Ok(true),
                    404 => Ok(false),
                    _ => Err(crate::failure::Failure::from(self.http.status_failure(reply)).error),
                }
            });
            match asked {
                Ok(true) => return Ok(true),
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(false), Err)
    }
}
