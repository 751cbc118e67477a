use super::*;

fn parse_words(line: &str) -> Result<Cli, UsageError> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

fn parsed(line: &str) -> Command {
    parse_words(line).unwrap_or_else(|error| panic!("`{line}`: {}", error.text)).command
}

fn refused(line: &str) -> (u8, String) {
    match parse_words(line) {
        Ok(cli) => panic!("`{line}` was accepted: {cli:?}"),
        Err(error) => (error.code, error.text),
    }
}

fn build(line: &str) -> BuildArgs {
    match parsed(line) {
        Command::Build(args) => *args,
        other => panic!("`{line}` is not a build: {other:?}"),
    }
}

#[test]
fn the_description_of_the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn flags_may_follow_the_context() {
    let args = build("docker build --build-arg https_proxy= -t a/b:build . -f Dockerfile.build");
    assert_eq!(args.context, PathBuf::from("."));
    assert_eq!(args.files, [PathBuf::from("Dockerfile.build")]);
    assert_eq!(args.build_args, ["https_proxy=".parse().expect("a variable")]);
    assert_eq!(args.tags[0].to_string(), "docker.io/a/b:build");
}

#[test]
fn the_context_may_be_standard_input() {
    assert_eq!(build("stave build -").context, PathBuf::from("-"));
    assert_eq!(build("stave build -f - .").files, [PathBuf::from("-")]);
}

#[test]
fn build_has_dockers_other_names() {
    for line in ["stave buildx build -q .", "stave builder build -q .", "docker --debug image build -q ."] {
        assert!(build(line).quiet, "{line}");
    }
}

#[test]
fn boolean_flags_take_a_value_as_in_docker_and_the_last_one_counts() {
    assert!(build("docker build --no-cache=true --pull=1 .").no_cache);
    assert!(!build("docker build --no-cache --no-cache=false .").no_cache);
    assert!(build("docker build --no-cache=false --no-cache .").no_cache);
    let (code, text) = refused("docker build --pull=maybe .");
    assert_eq!(code, 2);
    assert!(text.contains("maybe"), "{text}");
}

#[test]
fn what_follows_the_image_belongs_to_the_command() {
    let Command::Run(args) = parsed("docker run --rm -e A=b img ls --rm -l --pull=true") else { panic!("not a run") };
    assert!(args.options.rm);
    assert_eq!(args.options.image_and_command, ["img", "ls", "--rm", "-l", "--pull=true"]);
    let Command::Run(args) = parsed("docker run img --rm") else { panic!("not a run") };
    assert!(!args.options.rm);
    assert_eq!(args.options.image_and_command, ["img", "--rm"]);
}

#[test]
fn noun_forms_are_the_plain_commands() {
    assert!(matches!(parsed("docker image ls"), Command::Images(_)));
    assert!(matches!(parsed("docker --root /x container rm a"), Command::Rm(_)));
    let Command::Inspect(args) = parsed("docker image inspect -f x a") else { panic!("not an inspect") };
    assert_eq!(args.kind, Some(ObjectType::Image));
    let Command::Store(StoreCommand::Prune(args)) = parsed("docker image prune -af") else { panic!("not a prune") };
    assert!(args.all && args.only == [PruneKind::Images]);
    assert!(matches!(parsed("docker buildx du --verbose"), Command::Store(StoreCommand::Usage(_))));
    assert_eq!(refused("docker image sign").0, 2);
    assert_eq!(refused("docker image --help").0, 0);
}

/// G018, G020, G021, G025: what buildx has and stave has in another way.
#[test]
fn commands_of_buildx_that_are_not_there_say_what_does_their_work() {
    for (typed, form, instead) in [
        ("docker buildx history export -o f abc", "buildx history export", "`stave debug --export FILE`"),
        ("docker buildx history import -f f", "buildx history import", "`stave debug --bundle FILE`"),
        ("stave buildx history open", "buildx history open", "`stave report -o report.html`"),
        ("docker buildx debug --invoke sh build .", "buildx debug", "`stave build --on-failure shell`"),
        ("docker buildx dap build .", "buildx dap", "`stave debug --before STEP`"),
        ("docker buildx bake --print", "buildx bake", "`stave build -f FILE --target STAGE CONTEXT`"),
    ] {
        let (code, text) = refused(typed);
        assert_eq!(code, 2, "{typed}");
        assert!(
            text.starts_with(&format!("error: `{form}` is not supported\nhint: ")) && text.contains(instead),
            "{text}"
        );
    }
    assert!(matches!(parsed("docker buildx history ls"), Command::Builds(BuildsCommand::Ls(_))));
    assert!(matches!(parsed("docker buildx history trace abc"), Command::Builds(BuildsCommand::Trace(_))));
}

#[test]
fn a_flag_that_is_not_there_yet_is_named() {
    assert_eq!(
        refused("docker start --checkpoint x a"),
        (
            2,
            "error: `--checkpoint` of `docker start` is not supported\n\
             hint: stave makes no checkpoints.\n"
                .to_owned()
        )
    );
    let (code, text) = refused("docker run --blkio-weight 1 img");
    assert_eq!(code, 125);
    assert!(text.contains("`--blkio-weight` of `docker run` is not supported\nhint: `--memory`, `--cpus`"), "{text}");
    let (code, text) = refused("docker run -v a/b:/b img");
    assert_eq!(code, 125);
    assert!(text.contains("`a/b` is neither a volume nor a path"), "{text}");
    let (code, text) = refused("stave build --no-cahce .");
    assert_eq!(code, 2);
    assert!(text.contains("has no flag `--no-cahce`") && text.contains("`--no-cache`"), "{text}");
    let (_, text) = refused("docker network a");
    assert!(text.contains("`docker network` is not supported\nhint: stave makes no networks"), "{text}");
    let (_, text) = refused("stave biuld .");
    assert!(text.contains("has no command `biuld`") && text.contains("`build`"), "{text}");
}

/// A mistake names the whole command and what is missing of it, and nothing else.
#[test]
fn usage_errors_name_the_command_and_what_it_lacks() {
    for (typed, message) in [
        ("stave exec z1", "`stave exec` needs `COMMAND`"),
        ("stave exec", "`stave exec` needs `CONTAINER COMMAND...`"),
        ("stave manifest create", "`stave manifest create` needs `LIST`"),
        ("stave store limit 1m 2", "`2` is one argument too many for `stave store limit`"),
        ("stave store limit --unset", "`stave store limit` has no flag `--unset`"),
        ("stave debug --list -- ls", "`--list` and `COMMAND` cannot be used together"),
    ] {
        let (code, text) = refused(typed);
        assert_eq!((code, text.lines().next().unwrap_or_default()), (2, &*format!("error: {message}")), "{typed}");
    }
}

#[test]
fn no_flag_in_the_table_of_missing_ones_exists() {
    for name in usage::refused_commands() {
        assert!(command().find_subcommand(name).is_none(), "`{name}` is a command");
    }
    for (flag, why) in usage::kanikos() {
        let given = parse_words(&format!("stave build {flag} ."));
        let text = match given {
            Err(error) => error.text,
            Ok(_) => panic!("`{flag}` is a flag of `stave build`"),
        };
        assert_eq!(text, format!("error: `{flag}` is a flag of kaniko's, and none of `stave build`\nhint: {why}\n"));
    }
    for (commands, flags) in usage::refused_table() {
        for name in commands.split(' ') {
            let mut all = command();
            all.build();
            let known = all.find_subcommand(name).expect("the table names commands that exist").clone();
            for argument in known.get_arguments() {
                let long = argument.get_long().map(|long| format!("--{long}")).unwrap_or_default();
                let short = argument.get_short().map(|short| format!("-{short}")).unwrap_or_default();
                let both: Vec<_> = flags.iter().filter(|flag| **flag == long || **flag == short).collect();
                assert!(both.is_empty(), "`{name}` has {both:?}");
            }
        }
    }
}

#[test]
fn help_and_version_are_not_errors() {
    assert_eq!(refused("stave --help").0, 0);
    assert!(refused("stave help build").1.contains("--build-arg"));
    assert!(refused("docker --version").1.starts_with("stave version "));
}

#[test]
fn the_ends_of_cp_follow_dockers_rule() {
    let end = |text: &str| text.parse::<CpEnd>();
    let inside =
        |container: &str, path: &str| Ok(CpEnd::Container { container: container.to_owned(), path: path.to_owned() });
    assert_eq!(end("extract:/go/app"), inside("extract", "/go/app"));
    assert_eq!(end("extract:a:b"), inside("extract", "a:b"));
    assert_eq!(end("./a:b"), Ok(CpEnd::Local("./a:b".into())));
    assert_eq!(end("dir/a:b"), Ok(CpEnd::Local("dir/a:b".into())));
    assert_eq!(end("-"), Ok(CpEnd::Stream));
    assert!(end(":/a").is_err() && end("a:").is_err() && end("").is_err());
}

#[test]
fn paragraphs_of_help_are_broken_by_the_terminal_and_nothing_else_is() {
    let text = "Examples:\n  stave x      One\n  stave y      Two\n\nA sentence that goes\non here.\nFilters: a, b,\nc.\nFields: .A\n";
    let expected = "Examples:\n  stave x      One\n  stave y      Two\n\nA sentence that goes on here.\nFilters: a, b, c.\nFields: .A";
    assert_eq!(super::paragraphs(text), expected);
}
