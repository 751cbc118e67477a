//! Each check by itself: a file that it finds something in, with the whole message, and one that it nearly does.

use super::{check, nothing};

/// E021, K006, T67.
#[test]
fn names_of_stages_are_in_lower_case() {
    check(
        "
FROM a AS Build
FROM Build
",
        "
warning[StageNameCasing]: stage name `Build` is not in lower case
  ! line 1: `Build`
  hint: Write `build`.
warning[StageNameCasing]: stage name `Build` is not in lower case
  ! line 2: `Build` other builders look for an image of this name
  hint: Write `build`.",
    );
    nothing(
        "
FROM a AS build
FROM build
FROM registry.example.com/x AS y-1
",
    );
}

/// E022.
#[test]
fn as_is_in_the_case_of_from() {
    check(
        "
FROM a as one
from b AS two
FROM c As three
",
        "
warning[FromAsCasing]: `as` is not in the case of `FROM`
  ! line 1: `as`
  - line 1: `FROM`
  hint: Write `AS`.
warning[ConsistentInstructionCasing]: `from` is not in upper case like most instructions of this file
  ! line 2: `from`
  hint: Write `FROM`.
warning[FromAsCasing]: `AS` is not in the case of `from`
  ! line 2: `AS`
  - line 2: `from`
  hint: Write `as`.
warning[FromAsCasing]: `As` is not in the case of `FROM`
  ! line 3: `As`
  - line 3: `FROM`
  hint: Write `AS`.",
    );
    nothing(
        "
from a as one
from b as two
",
    );
}

/// E023, T7.
#[test]
fn a_continued_instruction_has_no_empty_line() {
    check(
        r"
FROM a
RUN one && \

  two && \
 	
  three
",
        "
warning[NoEmptyContinuation]: empty line inside a continued instruction
  ! line 3: ``
  - line 2: `RUN` the instruction starts here
  - line 5: ` 	` another one
  hint: Remove the line; other builders will refuse it one day.",
    );
    nothing(
        r"
FROM a
RUN one && \
  # a comment
  two
",
    );
}

/// E024, A001.
#[test]
fn instructions_are_in_the_case_of_most() {
    check(
        "
FROM a
run x
Copy a b
ENV a=b
",
        "
warning[ConsistentInstructionCasing]: `run` is not in upper case like most instructions of this file
  ! line 2: `run`
  hint: Write `RUN`.
warning[ConsistentInstructionCasing]: `Copy` is not in upper case like most instructions of this file
  ! line 3: `Copy`
  hint: Write `COPY`.",
    );
    nothing(
        "
from a
env a=b
",
    );
}

/// E024.
#[test]
fn where_the_cases_are_even_upper_case_wins() {
    check(
        "
from a
env a=b
ENV b=c
USER x
",
        "
warning[ConsistentInstructionCasing]: `from` is not in upper case like most instructions of this file
  ! line 1: `from`
  hint: Write `FROM`.
warning[ConsistentInstructionCasing]: `env` is not in upper case like most instructions of this file
  ! line 2: `env`
  hint: Write `ENV`.",
    );
    nothing(
        "
arg X=1
FROM a
",
    );
}

/// E025, T67, K007.
#[test]
fn every_stage_has_its_own_name() {
    check(
        "
FROM a AS one
FROM b AS two
FROM c AS One
",
        "
warning[DuplicateStageName]: two stages are named `one`
  ! line 3: `One` meant by all that follows
  - line 1: `one` named so before
  hint: Give each a name of its own.
warning[StageNameCasing]: stage name `One` is not in lower case
  ! line 3: `One`
  hint: Write `one`.",
    );
    nothing(
        "
FROM a AS one
FROM b AS two
FROM c
FROM d
",
    );
}

/// E026, A065.
#[test]
fn reserved_names_are_no_names_of_stages() {
    check(
        "
FROM a AS scratch
FROM b AS context
",
        "
warning[ReservedStageName]: a stage is named `scratch`, which means something else
  ! line 1: `scratch`
  hint: Give it another name; `scratch` is the empty image, `context` the build context.
warning[ReservedStageName]: a stage is named `context`, which means something else
  ! line 2: `context`
  hint: Give it another name; `scratch` is the empty image, `context` the build context.",
    );
    nothing(
        "
FROM a AS scratch-1
FROM scratch
",
    );
}

/// E027.
#[test]
fn commands_are_json_arrays() {
    check(
        "
FROM a
ENTRYPOINT exec  program --flag  x
CMD cd /x && y
",
        r#"
warning[JSONArgsRecommended]: this `ENTRYPOINT` is run by a shell, which keeps signals from the program
  ! line 2: `exec  program --flag  x`
  hint: Write `ENTRYPOINT ["program", "--flag", "x"]`; if a shell is meant, choose it with `SHELL`.
warning[JSONArgsRecommended]: this `CMD` is run by a shell, which keeps signals from the program
  ! line 3: `cd /x && y`
  hint: Write it as a JSON array; if a shell is meant, choose it with `SHELL`."#,
    );
    nothing(
        r#"
FROM a
ENTRYPOINT ["program"]
CMD ["--flag"]
FROM a
SHELL ["/bin/bash", "-c"]
CMD x && y
FROM shell
CMD x && y
FROM absent
CMD x && y
"#,
    );
}

/// E028, A185.
#[test]
fn maintainer_is_a_label() {
    check(
        r#"
FROM a
MAINTAINER Somebody "Some" <somebody@example.com>
"#,
        r#"
warning[MaintainerDeprecated]: `MAINTAINER` is deprecated
  ! line 2: `MAINTAINER`
  hint: Write `LABEL org.opencontainers.image.authors="Somebody \"Some\" <somebody@example.com>"`."#,
    );
    nothing(
        r#"
FROM a
LABEL org.opencontainers.image.authors="Somebody <somebody@example.com>"
"#,
    );
}

/// E029.
#[test]
fn from_uses_declared_arguments() {
    check(
        "
ARG VERSION=1
FROM a:1${VERSOIN:-}
FROM --platform=$BUILDPLATFORM$BUILDPLATFROM b$OTHER
",
        "
warning[UndefinedArgInFrom]: `VERSOIN` is not declared before the first `FROM`
  ! line 2: `VERSOIN`
  hint: An argument with a similar name is `VERSION`.
warning[UndefinedArgInFrom]: `BUILDPLATFROM` is not declared before the first `FROM`
  ! line 3: `BUILDPLATFROM`
  hint: An argument with a similar name is `BUILDPLATFORM`.
warning[UndefinedArgInFrom]: `OTHER` is not declared before the first `FROM`
  ! line 3: `OTHER`
  hint: Declare it before the first `FROM`: `ARG OTHER=...`.",
    );
    nothing(
        "
ARG VERSION
ARG NAME=b
FROM a:${VERSION:-1}
FROM --platform=$BUILDPLATFORM $NAME
",
    );
}

/// E030.
#[test]
fn the_first_workdir_is_absolute() {
    check(
        "
FROM a
ENV DIR=sub
WORKDIR $DIR/x
WORKDIR y
FROM b
WORKDIR .
",
        "
warning[WorkdirRelativePath]: where `sub/x` is depends on the base image
  ! line 3: `$DIR/x` not an absolute path
  hint: Write the whole path, from `/` on.
warning[WorkdirRelativePath]: where `.` is depends on the base image
  ! line 6: `.` not an absolute path
  hint: Write the whole path, from `/` on.",
    );
    nothing(
        "
FROM a AS one
WORKDIR /x
WORKDIR y
FROM one
WORKDIR z
FROM absent
WORKDIR $HOME/x
",
    );
}

/// E031.
#[test]
fn variables_are_defined_before_they_are_used() {
    check(
        r#"
FROM a
ARG VERSION=1 NEXT=$VERSION$NXET
COPY --chown=$USR a $DST/
ENV A=$VERSOIN B=$A
RUN --mount=type=cache,target=/c$CACHE echo $ANY
LABEL a=${LATER:-x}${LATER}
COPY <<ONE <<"TWO" /
it's $ONE
ONE
$TWO
TWO
"#,
        "
warning[UndefinedVar]: variable `NXET` is not defined
  ! line 2: `NXET` nothing is put here
  hint: Define it first with `ARG NXET` or `ENV NXET=...`.
warning[UndefinedVar]: variable `USR` is not defined
  ! line 3: `USR` nothing is put here
  hint: Define it first with `ARG USR` or `ENV USR=...`.
warning[UndefinedVar]: variable `DST` is not defined
  ! line 3: `DST` nothing is put here
  hint: Define it first with `ARG DST` or `ENV DST=...`.
warning[UndefinedVar]: variable `VERSOIN` is not defined
  ! line 4: `VERSOIN` nothing is put here
  hint: A variable with a similar name is `VERSION`.
warning[UndefinedVar]: variable `A` is not defined
  ! line 4: `A` nothing is put here
  hint: Define it first with `ARG A` or `ENV A=...`.
warning[UndefinedVar]: variable `CACHE` is not defined
  ! line 5: `CACHE` nothing is put here
  hint: Define it first with `ARG CACHE` or `ENV CACHE=...`.
warning[UndefinedVar]: variable `LATER` is not defined
  ! line 6: `LATER` nothing can give it a value
  hint: Define it first with `ARG LATER` or `ENV LATER=...`.
warning[UndefinedVar]: variable `ONE` is not defined
  ! line 8: `ONE` nothing is put here
  hint: Define it first with `ARG ONE` or `ENV ONE=...`.",
    );
    nothing(
        "
FROM env
ARG GIVEN
ARG DEFAULT=${GIVEN} OTHER=$DEFAULT
ENV A=$GIVEN$HOME$PATH
ARG C
ENV B=${A}${C:-c}$1
RUN echo $ANY
FROM absent
ENV A=$ANY
",
    );
}

/// E032, A173.
#[test]
fn of_some_instructions_only_the_last_counts() {
    check(
        r#"
FROM a
CMD ["a"]
ENTRYPOINT ["a"]
CMD ["b"]
ENTRYPOINT ["b"]
HEALTHCHECK NONE
CMD ["c"]
HEALTHCHECK CMD true
"#,
        "
warning[MultipleInstructionsDisallowed]: this `CMD` has no effect
  ! line 2: `CMD`
  - line 4: `CMD` this one takes its place
  hint: Remove it: a stage has one `CMD`, the last.
warning[MultipleInstructionsDisallowed]: this `ENTRYPOINT` has no effect
  ! line 3: `ENTRYPOINT`
  - line 5: `ENTRYPOINT` this one takes its place
  hint: Remove it: a stage has one `ENTRYPOINT`, the last.
warning[MultipleInstructionsDisallowed]: this `CMD` has no effect
  ! line 4: `CMD`
  - line 7: `CMD` this one takes its place
  hint: Remove it: a stage has one `CMD`, the last.
warning[MultipleInstructionsDisallowed]: this `HEALTHCHECK` has no effect
  ! line 6: `HEALTHCHECK`
  - line 8: `HEALTHCHECK` this one takes its place
  hint: Remove it: a stage has one `HEALTHCHECK`, the last.",
    );
    nothing(
        r#"
FROM a AS one
CMD ["a"]
FROM one
CMD ["b"]
"#,
    );
}

/// E033, A168.
#[test]
fn pairs_have_an_equals_sign() {
    check(
        r#"
FROM a
ENV name value
ENV name a value with "blanks"
LABEL name value
"#,
        r#"
warning[LegacyKeyValueFormat]: `ENV` without an equals sign is an old form
  ! line 2: `name value`
  hint: Write `ENV name=value`.
warning[LegacyKeyValueFormat]: `ENV` without an equals sign is an old form
  ! line 3: `name a value with "blanks"`
  hint: Write `ENV name="a value with \"blanks\""`.
warning[LegacyKeyValueFormat]: `LABEL` without an equals sign is an old form
  ! line 4: `name value`
  hint: Write `LABEL name=value`."#,
    );
    nothing(
        r#"
FROM a
ENV name=value
LABEL name="a b" other=c
"#,
    );
}

/// E034, H005.
#[test]
fn a_base_is_for_its_platform() {
    check(
        "
FROM arm
FROM --platform=linux/arm64 a AS for-arm64
",
        "
warning[InvalidBaseImagePlatform]: image `arm` is for `linux/arm64`, expected `linux/amd64`
  ! line 1: `arm`
  hint: Choose an image that exists for this platform, or build for the image's with `--platform`.
warning[InvalidBaseImagePlatform]: image `a` is for `linux/amd64`, expected `linux/arm64`
  ! line 2: `a`
  hint: Choose an image that exists for this platform, or build for the image's with `--platform`.",
    );
    nothing(
        "
FROM a
FROM --platform=linux/arm64 arm AS for-arm64
FROM scratch
",
    );
}

/// E035.
#[test]
fn the_platform_of_the_target_is_the_default() {
    check(
        r#"
FROM --platform=$TARGETPLATFORM a
FROM --platform="${TARGETPLATFORM}" a
"#,
        "
warning[RedundantTargetPlatform]: `$TARGETPLATFORM` is the platform without this flag too
  ! line 1: `$TARGETPLATFORM`
  hint: Leave `--platform` out.
warning[RedundantTargetPlatform]: `$TARGETPLATFORM` is the platform without this flag too
  ! line 2: `${TARGETPLATFORM}`
  hint: Leave `--platform` out.",
    );
    nothing(
        "
FROM --platform=$TARGETOS/$TARGETARCH a
FROM --platform=$BUILDPLATFORM a
",
    );
}

/// E036.
#[test]
fn secrets_are_no_arguments() {
    check(
        "
FROM a
ARG API_KEY GITHUB_TOKEN=x
ENV Password=x aws_secret_access=y
",
        "
warning[SecretsUsedInArgOrEnv]: `API_KEY` looks like a secret, and `ARG` keeps it in the image
  ! line 2: `API_KEY`
  hint: Mount it where it is needed: `RUN --mount=type=secret,id=api_key`.
warning[SecretsUsedInArgOrEnv]: `GITHUB_TOKEN` looks like a secret, and `ARG` keeps it in the image
  ! line 2: `GITHUB_TOKEN`
  hint: Mount it where it is needed: `RUN --mount=type=secret,id=github_token`.
warning[SecretsUsedInArgOrEnv]: `Password` looks like a secret, and `ENV` keeps it in the image
  ! line 3: `Password`
  hint: Mount it where it is needed: `RUN --mount=type=secret,id=password`.
warning[SecretsUsedInArgOrEnv]: `aws_secret_access` looks like a secret, and `ENV` keeps it in the image
  ! line 3: `aws_secret_access`
  hint: Mount it where it is needed: `RUN --mount=type=secret,id=aws_secret_access`.",
    );
    nothing(
        "
ARG TOKEN
FROM a
ARG KEYBOARD PUBLIC_KEY TOKEN_VERSION
ENV password_file=/x MONKEY=y
LABEL token=x
",
    );
}

/// E038.
#[test]
fn a_platform_is_no_constant() {
    check(
        "
FROM --platform=linux/arm64 arm AS build
FROM --platform=linux/amd64 a
",
        "
warning[FromPlatformFlagConstDisallowed]: the platform is always `linux/arm64`, whatever is built
  ! line 1: `linux/arm64`
  hint: Write `$BUILDPLATFORM` or leave the flag out; if it is meant, name the stage so: `AS ...-arm64`.
warning[FromPlatformFlagConstDisallowed]: the platform is always `linux/amd64`, whatever is built
  ! line 2: `linux/amd64`
  hint: Write `$BUILDPLATFORM` or leave the flag out; if it is meant, name the stage so: `AS ...-amd64`.",
    );
    nothing(
        "
FROM --platform=linux/arm64 arm AS build-arm64
FROM --platform=linux/amd64 a AS linux
FROM --platform=$BUILDPLATFORM a
",
    );
}

/// E040, A030.
#[test]
fn descriptions_begin_with_what_they_describe() {
    check(
        "
# check=experimental=all
# the version
ARG VERSION=1
# one builds it
# The build
FROM a AS one
# many
ARG A B
",
        "
warning[InvalidDefinitionDescription]: the comment does not describe the argument below it
  ! line 2: `the version` expected `VERSION ...`
  hint: Write `# VERSION ` and a description, or put an empty line below the comment.
warning[InvalidDefinitionDescription]: the comment does not describe the stage below it
  ! line 5: `The build` expected `one ...`
  hint: Write `# one ` and a description, or put an empty line below the comment.
warning[InvalidDefinitionDescription]: the comment does not describe the argument below it
  ! line 7: `many` expected `NAME ...`
  hint: Write `# NAME ` and a description, or put an empty line below the comment.",
    );
    nothing(
        "
# check=experimental=InvalidDefinitionDescription
# VERSION the version
ARG VERSION=1
# a remark

# check=skip=UndefinedVar
FROM a AS one
# unnamed stages need none
FROM a
",
    );
}

/// E041, T174.
#[test]
fn protocols_are_in_lower_case() {
    check(
        "
FROM a
ENV PROTO=UDP
EXPOSE 80/TCP 81/tcp 82/$PROTO
",
        "
warning[ExposeProtoCasing]: protocol `TCP` is not in lower case
  ! line 3: `80/TCP`
  hint: Write `80/tcp`.
warning[ExposeProtoCasing]: protocol `UDP` is not in lower case
  ! line 3: `82/$PROTO`
  hint: Write `82/udp`.",
    );
    nothing(
        "
FROM a
EXPOSE 80 80/tcp 53/udp 8000-8010/sctp
",
    );
}

/// E042.
#[test]
fn only_ports_of_the_container_are_exposed() {
    check(
        "
FROM a
EXPOSE 8080:80 127.0.0.1:53:53/udp
",
        "
warning[ExposeInvalidFormat]: `8080:80` names more than a port of the container
  ! line 2: `8080:80`
  hint: Write `80`; the host's port is chosen with `run -p`.
warning[ExposeInvalidFormat]: `127.0.0.1:53:53/udp` names more than a port of the container
  ! line 2: `127.0.0.1:53:53/udp`
  hint: Write `53/udp`; the host's port is chosen with `run -p`.",
    );
    nothing(
        "
FROM a
EXPOSE 80 8000-8010
",
    );
}

/// E024, E027.
#[test]
fn what_nearly_has_the_form_is_told_what_it_lacks() {
    let text = "\nFROM a\nARG VERSION\nENV A = 1\nENV B=$VERSON\nCMD ['a', 'b']\nENTRYPOINT [\"a\",]\n";
    let found = super::found_with(text, &super::options(), "");
    for hint in [
        "hint: The value begins with `=`, because of the blank before it. Write `ENV A=1`.",
        "hint: A variable with a similar name is `VERSION`.",
        "hint: It looks like a JSON array and is none: its strings need double quotes.",
        "hint: It looks like a JSON array and is none: no comma may stand before the `]`.",
    ] {
        assert!(found.contains(hint), "{hint}\n{found}");
    }
}
