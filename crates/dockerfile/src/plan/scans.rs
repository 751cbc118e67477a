//! What else than the result is searched for packages: `BUILDKIT_SBOM_SCAN_CONTEXT` and `BUILDKIT_SBOM_SCAN_STAGE`.
//!
//! Reference: BuildKit, `frontend/dockerfile/docs/reference.md`, "BuildKit built-in build args"; A087 of the feature list.

use super::values::PlanOptions;
use crate::ast::{Dockerfile, Instruction, InstructionKind};

const CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
const STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// What a file, or who builds it, wants searched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scans {
    /// Whether the context is.
    pub context: bool,
    /// The numbers of the stages that are.
    pub stages: Vec<usize>,
}

/// Returns what `file` and the build arguments say. A build argument counts before an `ARG` of a stage, and that before one
/// at the top of the file.
#[must_use]
pub fn scans(file: &Dockerfile, options: &PlanOptions) -> Scans {
    let mut scans = Scans::default();
    for (index, stage) in file.stages.iter().enumerate() {
        let value = |name: &str| {
            options
                .build_args
                .get(name)
                .map(String::as_str)
                .or_else(|| declared(&stage.instructions, name).or_else(|| declared(&file.global_args, name)))
        };
        let name = stage.name.as_ref().map(|name| name.name.as_str());
        let is_meant = |text: Option<&str>| text.is_some_and(|text| means(text, name));
        scans.context |= is_meant(value(CONTEXT));
        if is_meant(value(STAGE)) {
            scans.stages.push(index);
        }
    }
    scans
}

/// Returns what the last `ARG` with this name has as its default.
fn declared<'a>(instructions: &'a [Instruction], name: &str) -> Option<&'a str> {
    let declarations = instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(declarations) => Some(declarations),
        _ => None,
    });
    let last = declarations.flatten().rfind(|declaration| declaration.name.as_str() == name)?;
    last.default.as_ref().map(|text| text.as_str().trim_matches(['"', '\'']))
}

/// Whether a value is true, or lists the stage called `name`.
fn means(value: &str, name: Option<&str>) -> bool {
    match value {
        // Reference: Go, `strconv.ParseBool`.
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        list => list.split(',').any(|one| name.is_some_and(|name| one.trim().eq_ignore_ascii_case(name))),
    }
}

#[cfg(test)]
mod tests {
    use stave_oci::Platform;

    use super::*;
    use crate::parse;

    fn of(text: &str, args: &[(&str, &str)]) -> Scans {
        let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        scans(&parse(text).file, &PlanOptions { build_args, ..PlanOptions::new(Platform::host()) })
    }

    /// E003, A087
    #[test]
    fn arguments_say_for_all_stages_or_for_one_what_is_searched() {
        let none = Scans::default();
        assert_eq!(of("FROM a AS x\nFROM b\n", &[]), none);
        let everything = Scans { context: true, stages: vec![0, 1] };
        assert_eq!(
            of("ARG BUILDKIT_SBOM_SCAN_CONTEXT=true BUILDKIT_SBOM_SCAN_STAGE=1\nFROM a\nFROM b\n", &[]),
            everything
        );
        let own = "FROM a AS x\nARG BUILDKIT_SBOM_SCAN_STAGE=\"true\"\nFROM b\nARG BUILDKIT_SBOM_SCAN_STAGE\n";
        assert_eq!(of(own, &[]), Scans { context: false, stages: vec![0] });
        assert_eq!(of(own, &[("BUILDKIT_SBOM_SCAN_STAGE", "false")]), none);
        let listed = [("BUILDKIT_SBOM_SCAN_STAGE", "y,X"), ("BUILDKIT_SBOM_SCAN_CONTEXT", "no")];
        assert_eq!(of("FROM a AS x\nFROM b AS z\nFROM c\n", &listed), Scans { context: false, stages: vec![0] });
    }
}
