//! The arguments of `build`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use stave_oci::{Platform, Reference};

use super::CallArg;

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "one for each flag, with its name")]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// The context: a directory, or `-` to read a tar archive or a Dockerfile from standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
    /// Name of the result, `name` or `name:tag`; may be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<Reference>,
    /// The Dockerfile [default: CONTEXT/Dockerfile]; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Value of an ARG; without `=VALUE` it is taken from the environment; may be given several times
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// Stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Run every step, whatever the cache holds
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask the registry for the base images even if they are here already
    #[arg(long)]
    pub(crate) pull: bool,
    /// Platform of the result; this machine's is the only one yet
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Label of the result; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Network of the RUN steps; `default` is the host's
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: NetworkMode,
    /// Where the result goes instead of the store; may be given several times
    #[arg(short, long = "output", value_name = "OUTPUT", allow_hyphen_values = true)]
    pub(crate) outputs: Vec<OutputArg>,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built (digests, names) to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How progress is shown
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(crate) progress: ProgressMode,
    /// Check the Dockerfile instead of building it; the same as `--call=check`
    #[arg(long)]
    pub(crate) check: bool,
    /// Answer a question instead of building: `check`, `outline` (what the target takes) or `targets` (the stages);
    /// `,format=json` is for programs, `,ignorestatus` exits with 0 whatever a check finds
    #[arg(long, value_name = "METHOD", alias = "print")]
    pub(crate) call: Option<CallArg>,
    /// Nothing to do: a build keeps no intermediate containers
    #[arg(long = "rm", hide = true)]
    pub(crate) _rm: bool,
    /// Nothing to do: a build keeps no intermediate containers
    #[arg(long = "force-rm", hide = true)]
    pub(crate) _force_rm: bool,
}

const EXAMPLES: &str = "\
Examples:
  stave build -t me/app .                        ./Dockerfile, context ., image me/app:latest
  stave build -t me/app:1.2 . -f Dockerfile.alt  Another Dockerfile; flags may follow the context
  stave build --target builder -t me/tools .     Stop at the stage `builder`
  stave build --build-arg VERSION=1.2 .          Set an ARG
  stave build - < Dockerfile                     A Dockerfile without a context
  tar c . | stave build -                        The context as a tar archive
  stave build -q . | xargs stave run --rm        Only the image's id goes to standard output
  stave build --check .                          What is seldom meant in the Dockerfile

Outputs:
  -o type=oci,dest=app.tar     OCI archive           -o type=docker,dest=-   `docker load` archive
  -o type=local,dest=out (or -o out)                 The image's files into a directory
  -o type=tar,dest=rootfs.tar (or -o - > x.tar)      The image's files as one tar";

/// Network of RUN steps, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkMode {
    Default,
    Host,
    None,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// Redraws the running steps
    Tty,
    /// One line an event
    Plain,
    /// One JSON object an event
    Rawjson,
    /// Nothing but errors
    #[value(alias = "none")]
    Quiet,
}

/// What `-o` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Oci,
    Docker,
    Tar,
    Local,
}

/// One `-o`: its kind and where it goes. `None` as destination of `docker` means the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputArg {
    pub(crate) kind: OutputKind,
    /// `-` is standard output.
    pub(crate) dest: Option<PathBuf>,
}

impl FromStr for OutputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = csv_fields(text)?;
        if let [only] = fields.as_slice()
            && !only.contains('=')
        {
            let kind = if only == "-" { OutputKind::Tar } else { OutputKind::Local };
            return match only.as_str() {
                "" => Err("an empty output: expected a directory, `-` or `type=...`".to_owned()),
                path => Ok(Self { kind, dest: Some(path.into()) }),
            };
        }
        let (mut kind, mut dest) = (None, None);
        for field in &fields {
            match field.split_once('=') {
                Some((key, value)) if key.eq_ignore_ascii_case("type") => kind = Some(output_kind(value)?),
                Some((key, value)) if key.eq_ignore_ascii_case("dest") && !value.is_empty() => {
                    dest = Some(PathBuf::from(value));
                }
                _ => {
                    return Err(format!("`{field}` is not supported by stave yet: expected `type=...` and `dest=...`"));
                }
            }
        }
        match (kind.ok_or("`type=` is missing: expected `oci`, `docker`, `tar` or `local`")?, dest) {
            (OutputKind::Local, dest)
                if dest.is_none() || dest.as_deref().is_some_and(|dest| dest.as_os_str() == "-") =>
            {
                Err("`type=local` needs `dest=DIRECTORY`".to_owned())
            }
            (kind @ (OutputKind::Oci | OutputKind::Tar), None) => Ok(Self { kind, dest: Some("-".into()) }),
            (kind, dest) => Ok(Self { kind, dest }),
        }
    }
}

fn output_kind(text: &str) -> Result<OutputKind, String> {
    match text {
        "oci" => Ok(OutputKind::Oci),
        "docker" => Ok(OutputKind::Docker),
        "tar" => Ok(OutputKind::Tar),
        "local" => Ok(OutputKind::Local),
        "image" | "registry" | "cacheonly" => Err(format!("`type={text}` is not supported by stave yet")),
        _ => Err(format!("no output type is named `{text}`: expected `oci`, `docker`, `tar` or `local`")),
    }
}

/// Splits one line of CSV: fields may be quoted by `"`, and a quote inside is doubled.
fn csv_fields(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err(format!("a bare `\"` in `{text}`: quote the whole field, like `\"dest=a,b\"`")),
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(format!("the quote in `{text}` is not closed"));
    }
    fields.push(field);
    Ok(fields)
}
