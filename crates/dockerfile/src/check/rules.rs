//! The names of the checks and what each asks for. Table.

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which is BuildKit's, and the code of its findings.
    pub name: &'static str,
    /// The name of its page in `docs/checks`, without the ending.
    pub page: &'static str,
    /// What it asks for, in one sentence.
    pub summary: &'static str,
    /// Whether it is made only where it is asked for by name, or all of these are.
    pub experimental: bool,
}

impl Rule {
    /// Returns the address of its page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/blob/main/docs/checks/{}.md", env!("CARGO_PKG_REPOSITORY"), self.page)
    }
}

macro_rules! rules {
    ($($constant:ident = $name:literal, $page:literal, $experimental:literal, $summary:literal;)*) => {
        $(#[doc = $summary] pub const $constant: &str = $name;)*

        /// All checks, in BuildKit's order.
        pub const RULES: &[Rule] =
            &[$(Rule { name: $name, page: $page, summary: $summary, experimental: $experimental }),*];
    };
}

rules! {
    STAGE_NAME_CASING = "StageNameCasing", "stage-name-casing", false,
        "Names of stages are written in lower case.";
    FROM_AS_CASING = "FromAsCasing", "from-as-casing", false,
        "`AS` is written in the case of its `FROM`.";
    NO_EMPTY_CONTINUATION = "NoEmptyContinuation", "no-empty-continuation", false,
        "No empty line stands inside a continued instruction.";
    CONSISTENT_INSTRUCTION_CASING = "ConsistentInstructionCasing", "consistent-instruction-casing", false,
        "All instructions of a file are written in one case.";
    DUPLICATE_STAGE_NAME = "DuplicateStageName", "duplicate-stage-name", false,
        "Every stage has a name of its own.";
    RESERVED_STAGE_NAME = "ReservedStageName", "reserved-stage-name", false,
        "No stage is named `scratch` or `context`.";
    JSON_ARGS_RECOMMENDED = "JSONArgsRecommended", "json-args-recommended", false,
        "`CMD` and `ENTRYPOINT` are JSON arrays, so that signals reach the program.";
    MAINTAINER_DEPRECATED = "MaintainerDeprecated", "maintainer-deprecated", false,
        "The author is a label, not a `MAINTAINER`.";
    UNDEFINED_ARG_IN_FROM = "UndefinedArgInFrom", "undefined-arg-in-from", false,
        "`FROM` uses arguments that are declared before the first `FROM`.";
    WORKDIR_RELATIVE_PATH = "WorkdirRelativePath", "workdir-relative-path", false,
        "The first `WORKDIR` is absolute, whatever the base image has.";
    UNDEFINED_VAR = "UndefinedVar", "undefined-var", false,
        "Every variable is defined before it is used.";
    MULTIPLE_INSTRUCTIONS_DISALLOWED = "MultipleInstructionsDisallowed", "multiple-instructions-disallowed", false,
        "A stage has one `CMD`, one `ENTRYPOINT` and one `HEALTHCHECK`, because only the last one counts.";
    LEGACY_KEY_VALUE_FORMAT = "LegacyKeyValueFormat", "legacy-key-value-format", false,
        "`ENV` and `LABEL` are written with an equals sign.";
    INVALID_BASE_IMAGE_PLATFORM = "InvalidBaseImagePlatform", "invalid-base-image-platform", false,
        "A base image is for the platform that it is asked for.";
    REDUNDANT_TARGET_PLATFORM = "RedundantTargetPlatform", "redundant-target-platform", false,
        "`FROM --platform=$TARGETPLATFORM` is left out, because it changes nothing.";
    SECRETS_USED_IN_ARG_OR_ENV = "SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env", false,
        "Secrets are mounted, not put into `ARG` or `ENV`.";
    INVALID_DEFAULT_ARG_IN_FROM = "InvalidDefaultArgInFrom", "invalid-default-arg-in-from", false,
        "Without build arguments, every `FROM` still names an image.";
    FROM_PLATFORM_FLAG_CONST_DISALLOWED = "FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed", false,
        "`FROM --platform` is a variable, or the stage's name says which platform it is for.";
    COPY_IGNORED_FILE = "CopyIgnoredFile", "copy-ignored-file", false,
        "What is copied from the context is not left out of it by the ignore file.";
    INVALID_DEFINITION_DESCRIPTION = "InvalidDefinitionDescription", "invalid-definition-description", true,
        "A comment directly above a named `FROM` or an `ARG` describes it, and begins with its name.";
    EXPOSE_PROTO_CASING = "ExposeProtoCasing", "expose-proto-casing", false,
        "The protocols of `EXPOSE` are written in lower case.";
    EXPOSE_INVALID_FORMAT = "ExposeInvalidFormat", "expose-invalid-format", false,
        "`EXPOSE` names ports of the container, without an address or a port of the host.";
}

/// Returns the check of this name; the codes of mistakes are none.
#[must_use]
pub fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_the_names_in_kebab_case() {
        assert_eq!(RULES.len(), 22);
        for rule in RULES {
            assert_eq!(rule.page.replace('-', ""), rule.name.to_lowercase());
            assert!(rule.summary.ends_with('.'), "{}", rule.name);
        }
    }
}
