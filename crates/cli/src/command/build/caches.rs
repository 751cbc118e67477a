//! The caches of other machines, made from the arguments.

use std::time::Duration;

use stave_engine::Caches;

use super::variables::Surroundings;
use crate::args::CacheArg;
use crate::failure::Failure;

/// Returns the caches that a build reads and writes; the last of the three says that the image is to carry its own, too.
///
/// Reference: the Dockerfile reference, "BuildKit built-in build args", `BUILDKIT_INLINE_CACHE`.
pub(super) fn caches(
    (from, to, inline): (&[CacheArg], &[CacheArg], bool),
    ttl: Option<Duration>,
    surroundings: &Surroundings<'_>,
) -> Result<Caches, Failure> {
    let lookup = |name: &str| surroundings.text(name);
    let refused = |flag: &'static str| {
        move |problem: String| Failure::usage(format!("`{flag}`: {problem}")).with_hint("See docs/caching.md.")
    };
    let mut caches = Caches { ttl, ..Caches::default() };
    for fields in from.iter().flat_map(|cache| &cache.0) {
        caches.from.push(stave_engine::parse_import(fields, &lookup).map_err(refused("--cache-from"))?);
    }
    for fields in to.iter().flat_map(|cache| &cache.0) {
        caches.to.push(stave_engine::parse_export(fields, &lookup).map_err(refused("--cache-to"))?);
    }
    if inline {
        let fields = [("type".to_owned(), "inline".to_owned())];
        caches.to.push(stave_engine::parse_export(&fields, &lookup).map_err(refused("--cache-to"))?);
    }
    Ok(caches)
}
