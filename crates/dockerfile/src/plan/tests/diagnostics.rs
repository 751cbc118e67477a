//! What the user sees of mistakes.

use super::*;

#[track_caller]
fn check_with(text: &str, options: &PlanOptions, expected: &str) {
    let (plan, diagnostics) = outcome(text, options, &image);
    assert_eq!(plan == Plan::Invalid, diagnostics.iter().any(Diagnostic::is_error));
    assert_eq!(render(text, &diagnostics), expected.trim());
}

#[track_caller]
fn check(text: &str, expected: &str) {
    check_with(text, &options(), expected);
}

/// T70.
#[test]
fn an_unknown_target_suggests_the_nearest_stage() {
    check_with(
        "FROM a AS build\nFROM b\n",
        &with_target("bulid"),
        "
error[D101]: no stage is named `bulid`, which is the target
  ! line 1: `build` stage 0
  - line 2: `b` stage 1
  hint: A stage with a similar name is `build`.",
    );
    check_with(
        "FROM a AS build\n",
        &with_target("1"),
        "
error[D102]: the target is stage 1, and the file has one stage, and its number is 0
  ! line 1: `build` stage 0",
    );
}

/// T73.
#[test]
fn an_index_out_of_range_says_how_many_stages_there_are() {
    check(
        "FROM a\nCOPY --from=5 /x /\nFROM b\n",
        "
error[D102]: there is no stage 5
  ! line 2: `5` the file has 2 stages, numbered 0 to 1",
    );
}

/// T72.
#[test]
fn a_later_stage_is_shown_at_both_places() {
    check("FROM a AS target\nCOPY --from=build /x /\nFROM b AS build\n", "");
    check_with(
        "FROM a AS target\nCOPY --from=build /x /\nFROM b AS build\n",
        &with_target("target"),
        "
error[D104]: stage `build` is defined later
  ! line 2: `build` used before it is defined
  - line 3: `build` defined here
  hint: Move stage `build` in front of stage `target`: a stage can only copy from earlier ones.",
    );
}

/// T72, A151.
#[test]
fn cycles_are_shown_where_they_close() {
    check(
        "FROM a AS one\nCOPY --from=two /x /\nFROM b AS two\nCOPY --from=one /x /\n",
        "
error[D105]: stage `one` and stage `two` need each other
  ! line 2: `two` stage `two` itself needs stage `one`
  - line 3: `two` stage `two` is defined here",
    );
    check(
        "FROM a AS one\nCOPY --from=one /x /\n",
        "
error[D105]: stage `one` copies from itself
  ! line 2: `one` the stage that this instruction is in
  - line 1: `one` defined here
  hint: To copy from an image of the same name, write its name in full, as `docker.io/library/name`.",
    );
    check(
        "FROM a\nCOPY --from=0 /x /\n",
        "
error[D105]: stage 0 copies from itself
  ! line 2: `0` the stage that this instruction is in
  - line 1: `a` defined here
  hint: To copy from an image of the same name, write its name in full, as `docker.io/library/name`.",
    );
}

/// T82, A056.
#[test]
fn empty_bases_and_platforms_say_which_variable_is_missing() {
    check(
        "ARG VERSION=1\nFROM $VERSOIN\n",
        "
error[D106]: the name of the base image is empty
  ! line 2: `$VERSOIN` nothing is left when its variables are expanded
  hint: `VERSOIN` is not defined before the first `FROM`; a similar name is: `VERSION`.",
    );
    check(
        "FROM --platform=$P a\n",
        "
error[D107]: the platform is empty
  ! line 1: `$P` nothing is left when its variables are expanded
  hint: Define it before the first `FROM`, as `ARG P=value`.",
    );
    check(
        "FROM $P\nARG P=1\n",
        "
error[D106]: the name of the base image is empty
  ! line 1: `$P` nothing is left when its variables are expanded
  hint: The `ARG P` below holds in its stage only: move it above the first `FROM`, and repeat `ARG P` where the stage needs it.",
    );
}

#[test]
fn bases_that_are_no_image_names_suggest_a_stage() {
    check(
        "FROM a AS build\nFROM BULID\n",
        "
error[D108]: image name `BULID` has upper-case letters: repository names are lower-case
  ! line 2: `BULID`
  hint: An earlier stage has a similar name: `build`.",
    );
}

#[test]
fn all_mistakes_of_a_file_are_found_in_one_run() {
    check(
        "FROM a\nEXPOSE 80/x 99999\nSTOPSIGNAL SIGTREM\nUSER a:b:c\nCOPY --chmod=10000 --chown=d:e:f [a b c\nVOLUME \"\"\n",
        "
error[D111]: `80/x` is no port: `x` is none of `tcp`, `udp` and `sctp`
  ! line 2: `80/x`
  hint: Ports are written `80`, `8000-8010`, `53/udp`.
error[D111]: `99999` is no port: `99999` is not a number from 0 to 65535
  ! line 2: `99999`
  hint: Ports are written `80`, `8000-8010`, `53/udp`.
error[D112]: there is no signal `SIGTREM`
  ! line 3: `SIGTREM` expected a name such as `SIGTERM`, or a number
  hint: A signal with a similar name is `SIGTERM`.
warning[D113]: `a:b:c` is not of the form `user` or `user:group`
  ! line 4: `a:b:c` no step can run as this user
error[D114]: `10000` is no file mode
  ! line 5: `10000` expected an octal number between 0 and 7777, or symbols like `u=rwX,go-w`
error[D113]: `d:e:f` is not of the form `user` or `user:group`
  ! line 5: `d:e:f`
error[D117]: pattern `[a` has a `[` without `]`; a literal `[` is written `\\[`
  ! line 5: `[a`
error[D118]: the volume's path is empty
  ! line 6: `\"\"` nothing is left of it",
    );
}

/// K005.
#[test]
fn several_sources_need_a_directory() {
    check(
        "FROM a\nCOPY a b /c\nCOPY a b .\nCOPY a b /c/\n",
        "
error[D115]: 2 sources need a directory as destination
  ! line 2: `/c` no directory, because it does not end in `/`
  hint: Write `/c/`.",
    );
}

/// A149.
#[test]
fn a_copy_of_an_address_points_to_add() {
    check(
        "FROM a\nCOPY https://example.com/x /x\n",
        "
error[D116]: `COPY` cannot read `https://example.com/x`
  ! line 2: `https://example.com/x` not a path in the build context
  hint: Use `ADD` for what is on the network.",
    );
}

/// T40, T39.
#[test]
fn a_required_variable_is_asked_for_only_if_it_is_used() {
    let text = "FROM scratch\nARG X=${Y:?no}\n";
    let (_, diagnostics) = outcome(text, &options(), &image);
    assert!(render(text, &diagnostics).contains("Y: no"), "{}", render(text, &diagnostics));
    check_with(text, &with_args(&[("X", "1")]), "");
}

/// What depends on a base is not judged before the base is known.
#[test]
fn words_that_depend_on_a_base_wait_for_it() {
    let exposing = |name: &str| {
        let mut config = image(name);
        config.config.env = vec!["PORT=80".into()];
        config
    };
    let plan = ready_with("FROM a\nEXPOSE ${PORT:?none}\nUSER $PORT\n", &options(), &exposing);
    assert_eq!(plan.config.config.user, "80");
}

#[test]
fn a_small_file_cannot_fill_the_memory() {
    let doubled = format!("FROM scratch\nENV a=0123456789\n{}{}", "ENV a=$a$a\n".repeat(16), "RUN x\n".repeat(1_000));
    let stages = format!("FROM scratch\nENV a={}\n{}", "x".repeat(1_000), "FROM 0\nARG x\n".repeat(10));
    let chain: Vec<_> = (0..2_500).map(|n| format!("FROM s{n} AS s{}\nARG a\nARG b\nARG c\nARG d\n", n + 1)).collect();
    let many = "FROM scratch\n".repeat(5_000);
    for text in [doubled, many, format!("FROM scratch AS s0\n{}", chain.concat())] {
        let (plan, diagnostics) = outcome(&text, &options(), &image);
        assert_eq!(plan, Plan::Invalid);
        assert_eq!(diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>(), ["D121"]);
    }
    assert!(matches!(outcome(&stages, &options(), &image), (Plan::Ready(_), _)));
}

/// A054.
#[test]
fn what_a_stage_waits_for_is_an_earlier_stage() {
    check(
        "FROM a AS build\nFROM --after=biuld b\n",
        "
error[D012]: no stage is named `biuld`
  ! line 2: `biuld` `--after` takes the name or the number of an earlier stage
  hint: An earlier stage has a similar name: `build`.",
    );
    check(
        "FROM --after=b a\nFROM c AS b\n",
        "
error[D104]: stage 0 is to be built after stage `b`, which is not defined before it
  ! line 1: `b`
  - line 2: `b` defined here
  hint: `--after` names an earlier stage.",
    );
    check(
        "FROM --after=own a AS own\n",
        "
error[D104]: stage `own` is to be built after stage `own`, which is not defined before it
  ! line 1: `own`
  - line 1: `own` defined here
  hint: `--after` names an earlier stage.",
    );
    check(
        "FROM a\nFROM --after=7 b\n",
        "
error[D102]: there is no stage 7
  ! line 2: `7` the file has 2 stages, numbered 0 to 1",
    );
}

/// T82, A056.
#[test]
fn an_arg_without_a_value_is_asked_for() {
    let given = |name: &str| format!("Give it a value: `--build-arg {name}=...`, or `ARG {name}=...` in the file.");
    let all = "error[D106]: the name of the base image is empty\n";
    check(
        "ARG BASE\nFROM $BASE\n",
        &format!(
            "\n{all}  ! line 2: `$BASE` nothing is left when its variables are expanded\n  hint: {}",
            given("BASE")
        ),
    );
    check(
        "ARG BASE_IMAGE\nFROM $BASE_IMGE\n",
        &format!(
            "\n{all}  ! line 2: `$BASE_IMGE` nothing is left when its variables are expanded\n  hint: `BASE_IMGE` is not \
             defined before the first `FROM`; a similar name is: `BASE_IMAGE`."
        ),
    );
    let text = "ARG VERSION\nFROM busybox:$VERSION\n";
    let (_, found) = outcome(text, &options(), &image);
    assert_eq!((found[0].code, &found[0].hints[..]), ("D108", &[given("VERSION")][..]), "{}", render(text, &found));
}

/// T39.
#[test]
fn a_required_variable_says_how_it_is_given() {
    check(
        "FROM scratch\nARG A\nARG X=${A:?first}\nLABEL x=${B:?second}\n",
        "
error[D041]: A: first
  ! line 3: `${A:?first}`
  hint: Give it a value: `--build-arg A=...`.
error[D041]: B: second
  ! line 4: `${B:?second}`
  hint: Declare it before this with `ARG B`, and give it a value: `--build-arg B=...`.",
    );
}

#[test]
fn quotes_that_blanks_tear_apart_are_one_mistake() {
    check(
        "FROM a\nCOPY \"a b\" /x\nVOLUME \"/a b\"\nUSER \"me\n",
        "
error[D040]: no closing `\"`
  ! line 2: `\"a b\"` quotes do not hold words together here
  hint: Only a JSON array keeps the blanks of a path: `COPY [\"a file\", \"/to/\"]`.
error[D040]: no closing `\"`
  ! line 3: `\"/a b\"` quotes do not hold words together here
  hint: Only a JSON array keeps the blanks of a path: `VOLUME [\"/a directory\"]`.
error[D040]: no closing `\"`
  ! line 4: `\"me` opened here
  hint: To mean the character itself, write an escape character before the `\"`.",
    );
}

#[test]
fn flags_that_stand_too_late_are_seen() {
    check(
        "FROM a --platform=linux/amd64\nCOPY a /b --chown=1\nCOPY --from b /a /b\n",
        "
error[D018]: `FROM` takes an image, or an image, `AS` and a name
  ! line 1: `--platform=linux/amd64` `AS` and a name, or nothing, is expected here
  hint: A flag stands before the image: `FROM --platform=linux/amd64 ...`.
error[D014]: flag `--from` has no value
  ! line 3: `--from` `--from=...` is expected
error[D115]: 2 sources need a directory as destination
  ! line 2: `--chown=1` the destination, because it is last
  hint: A flag stands before the sources: `COPY --chown=1 ...`.",
    );
}

#[test]
fn marks_of_a_merge_are_named() {
    let found = |text: &str| render(text, &crate::parse(text).diagnostics);
    assert_eq!(
        found("FROM a\n<<<<<<< HEAD\n"),
        "\
error[D002]: unknown instruction `<<<<<<<`
  ! line 2: `<<<<<<<`
  hint: It marks a conflict of a merge; choose one of the two sides.",
    );
    assert_eq!(found("&& b\n"), "error[D002]: unknown instruction `&&`\n  ! line 1: `&&`");
}

/// A069.
#[test]
fn mounts_know_no_stages_by_number() {
    check(
        "FROM a AS build\nFROM b\nRUN --mount=type=bind,from=0,target=/x true\n",
        "
error[D102]: mounts do not know stage 0 by its number
  ! line 3: `0` an image of this name is looked for
  - line 1: `build` stage 0
  hint: Write the stage's name: `from=build`.",
    );
}

/// A059.
#[test]
fn what_a_trigger_asks_for_is_asked_for_at_the_base() {
    let text = "FROM scratch AS a\nONBUILD COPY --from=zz /x /y\nFROM a\n";
    let parsed = crate::parse(text);
    let (Plan::Need(missing), _) = super::plan(&parsed.file, &options(), &super::Facts::default()) else {
        panic!("the trigger needs an image")
    };
    let asked: Vec<_> = missing.iter().map(|(request, span)| (&*request.reference, span.range())).collect();
    assert_eq!(asked, [("zz", 52..53)]);
}

#[test]
fn an_outline_of_a_file_without_an_image_is_a_mistake() {
    let file = crate::parse("FROM busybox:$TAG\n").file;
    let mistakes = crate::check::outline::outline(&file, &options()).expect_err("there is no such image");
    assert_eq!(mistakes.iter().map(|mistake| mistake.code).collect::<Vec<_>>(), ["D108"]);
}
