//! `attestations`: what is said about an image of the store.

use super::Context;
use crate::args::AttestationsArgs;
use crate::failure::Failure;
use crate::host::Processes;
use crate::output;

/// Carries out `attestations`.
pub(super) fn attestations(args: &AttestationsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let all = host.engine.attestations(&args.image, args.platform.as_ref())?;
    let Some(kind) = &args.kind else {
        let kinds: Vec<String> = all.into_iter().map(|(kind, _)| kind).collect();
        output::lines(&kinds)?;
        return Ok(0);
    };
    let is_meant = |found: &str| match kind.as_str() {
        "provenance" => found.starts_with("https://slsa.dev/provenance/"),
        "sbom" => matches!(found, "https://spdx.dev/Document" | "https://cyclonedx.org/bom"),
        other => found == other,
    };
    let Some((_, predicate)) = all.iter().find(|(found, _)| is_meant(found)) else {
        return Err(Failure::failed(format!("nothing of the type `{kind}` is said about `{}`", args.image))
            .with_hint("Build it with `--provenance` or `--sbom`."));
    };
    output::text(&format!("{predicate:#}\n"))?;
    Ok(0)
}
