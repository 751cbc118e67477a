//! The arguments of `build`: each option of Docker's and Buildah's, carried out or answered.
//!
//! Turns words into typed values, and knows nothing of what is done with them. Read this file, then `elsewhere` for
//! the options that stave does not have; the other modules are the grammars of single values.

mod annotation;
mod attest;
mod cache;
mod csv;
mod elsewhere;
mod failed;
mod grant;
mod output;
mod policy;
mod supply;
mod table;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use stave_engine::{SharedLimits, Ulimit};
use stave_oci::Reference;

use super::container::{LimitOptions, resource};
use super::{BuildExplain, CallArg};
pub(crate) use annotation::AnnotationArg;
pub(crate) use cache::CacheArg;
pub(crate) use elsewhere::{Answer, Elsewhere};
pub(crate) use failed::{OnFailure, TakeOutArg};
pub(crate) use grant::{AllowArg, SecretArg, SecretPlace, SshArg};
use output::Algorithm;
pub(crate) use output::{CompressionArg, NamesArg, OutputArg, OutputKind, epoch_seconds};
pub(crate) use policy::PolicyArg;
pub(crate) use supply::SupplyArgs;
pub(crate) use value::{
    ContextArg, ContextPlace, HostArg, NetworkMode, ProgressMode, PullArg, Timestamp, VariableArg, truth,
};
use value::{boolean, timestamp};
pub(in crate::args) use value::{bytes, ulimit};

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "one for each flag, with its name")]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// The context: a directory, the address of a Git repository or of an archive, or `-` to read a tar archive or a
    /// Dockerfile from standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
    /// Name of the result, `name` or `name:tag`; may be given several times
    #[arg(short, long = "tag", value_name = "NAME", value_parser = Reference::of_new_name)]
    pub(crate) tags: Vec<Reference>,
    /// The Dockerfile [default: CONTEXT/Dockerfile], a path or an address; `-` reads it from standard input; the
    /// instructions of several follow each other
    #[arg(short, long = "file", value_name = "FILE", value_parser = path())]
    pub(crate) files: Vec<PathBuf>,
    /// Leave out of the context what this file says, instead of its `.dockerignore`
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) ignorefile: Option<PathBuf>,
    /// Flag of the C preprocessor `cpp`, which reads Dockerfiles whose names end in `.in`; may be given several times
    #[arg(long = "cpp-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) cpp_flags: Vec<String>,
    /// Value of an ARG; without `=VALUE` it is taken from the environment; may be given several times
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<VariableArg>,
    /// Read values of ARGs from a file, one `NAME=VALUE` a line; `--build-arg` comes before it
    #[arg(long = "build-arg-file", value_name = "FILE")]
    pub(crate) build_arg_files: Vec<PathBuf>,
    /// Files by a name for FROM, `COPY --from` and mounts: a directory, `docker-image://NAME`,
    /// `oci-layout://DIR[:TAG][@DIGEST]`, `target:STAGE`, or the address of a Git repository or an archive
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    pub(crate) contexts: Vec<ContextArg>,
    /// Stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Run every step, whatever the cache holds
    #[arg(long, conflicts_with = "no_cache_filter")]
    pub(crate) no_cache: bool,
    /// Run every step of these stages, whatever the cache holds
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// End with the exit code 4 before the first step that would have to run, and say why it would
    #[arg(long)]
    pub(crate) fail_on_miss: bool,
    /// Say afterwards on standard output why each step ran, as `text` or as `json`; `none` looks for no causes at all
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text",
          conflicts_with = "quiet")]
    pub(crate) explain: Option<BuildExplain>,
    /// Use what other machines have put into a cache: a registry's `NAME`, or `type=registry|local|gha|s3|azblob,...`;
    /// may be given several times
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<CacheArg>,
    /// Put the results of this build into a cache for other machines: `type=registry|local|inline|gha|s3|azblob,...`;
    /// may be given several times
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<CacheArg>,
    /// Use nothing of `--cache-from` that is older, as in `24h`; `0s` uses nothing of it
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) cache_ttl: Option<Duration>,
    /// Ask the registry for the base images even if they are here already; or `missing`, `never`
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub(crate) pull: Option<PullArg>,
    /// Platform of the result, or several with commas between them [default: this machine's; the variable
    /// `DOCKER_DEFAULT_PLATFORM` changes it]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Label of the result; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<VariableArg>,
    /// Network of the RUN steps: `default` and `host` are this machine's, `none` is none
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: NetworkMode,
    /// Let RUN steps reach the network only by a proxy, which asks the policies and records what is fetched
    #[arg(long)]
    pub(crate) proxy_network: bool,
    /// A name that steps find in `/etc/hosts`; `host-gateway` as address is this machine
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub(crate) hosts: Vec<HostArg>,
    /// Limit of what a step's processes may use, as in `nofile=1024:2048`
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit)]
    pub(crate) ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in steps, as in `128m` [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = value::bytes)]
    pub(crate) shm_size: Option<u64>,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    /// The same in other words, as in `memory=1g` or `cpuset-cpus=0-1`
    #[arg(long = "resource", value_name = "NAME=VALUE", value_parser = resource)]
    pub(crate) resources: Vec<SharedLimits>,
    /// Cgroup below which the steps run
    #[arg(long, value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Secret for `RUN --mount=type=secret`: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<SecretArg>,
    /// SSH agent or keys for `RUN --mount=type=ssh`: `default`, or `ID=SOCKET`, or `ID=KEY,KEY`
    #[arg(long, value_name = "ID[=PATH,...]")]
    pub(crate) ssh: Vec<SshArg>,
    /// What steps may that ask for it: `security.insecure`, `network.host`, `device`, `device=NAME`;
    /// `buildx.local.delete` lets `-o type=local,mode=delete` remove files
    #[arg(long = "allow", value_name = "PRIVILEGE", value_delimiter = ',')]
    pub(crate) allowed: Vec<AllowArg>,
    /// Where the result goes instead of the store; may be given several times
    #[arg(short, long = "output", value_name = "OUTPUT", allow_hyphen_values = true)]
    pub(crate) outputs: Vec<OutputArg>,
    /// Load the image into the running daemon of Docker or Podman, which gets what it lacks, and keep it in the store
    #[arg(long)]
    pub(crate) load: bool,
    /// Keep the image in the store, and send it to the registries that its names say
    #[arg(long)]
    pub(crate) push: bool,
    /// Annotation of the image's manifest; `index:`, `manifest-descriptor:` and `index-descriptor:` before the name
    /// say another place, as in `index,manifest[linux/arm64]:NAME=VALUE`
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub(crate) annotations: Vec<AnnotationArg>,
    /// Join the layers that the build makes into one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(crate) squash: Option<bool>,
    /// Join all layers into one, those of the base, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(crate) squash_all: Option<bool>,
    /// Compression of the layers that are written or pushed: `gzip`, `zstd`, `estargz` or `uncompressed`; an output's own
    /// `compression=` comes before it
    #[arg(long, value_name = "NAME", alias = "compression")]
    pub(crate) compression_format: Option<Algorithm>,
    /// Its level: 0 to 9 of gzip and estargz, 0 to 22 of zstd
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<u8>,
    /// Compress the layers of the base so, too, instead of keeping the bytes in which they came
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(crate) force_compression: Option<bool>,
    /// Write and push layers without compression
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(crate) disable_compression: Option<bool>,
    /// Seconds since 1970 that the image and what is new in it are from, or what has such a time: `context`, a named
    /// context, or a stage that fetches something [default: the variable `SOURCE_DATE_EPOCH`, else the time of the
    /// context's commit, else that of the youngest base]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) source_date_epoch: Option<String>,
    /// Seconds since 1970 that all files of new layers have, however old they are; `now` for the times that things
    /// really have
    #[arg(long, value_name = "SECONDS", conflicts_with = "source_date_epoch", value_parser = timestamp)]
    pub(crate) timestamp: Option<Timestamp>,
    /// Build everything a second time, from nothing, and fail if the image is another one; then nothing is kept
    #[arg(long)]
    pub(crate) verify: bool,
    /// Whether files get the image's time, and not only its configuration
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", hide_default_value = true, value_parser = boolean)]
    pub(crate) rewrite_timestamp: bool,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write the image's id without `sha256:` to this file
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) iidfile_raw: Option<PathBuf>,
    /// Write what was built (digests, names) to this file as JSON
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What happens when a step fails, after it was said why: `exit`, or a `shell` in the state in which it failed
    #[arg(long, value_name = "ACTION")]
    pub(crate) on_failure: Option<OnFailure>,
    /// Copy a file, or what is in a directory, out of a step that fails: of this stage, or with `:/path=DEST` of any; may be
    /// given several times
    #[arg(long, value_name = "STAGE:/PATH=DEST")]
    pub(crate) output_on_failure: Vec<TakeOutArg>,
    /// How progress is shown [default: `auto`; the variable `BUILDKIT_PROGRESS` changes it]
    #[arg(long, value_name = "MODE")]
    pub(crate) progress: Option<ProgressMode>,
    /// Check the Dockerfile instead of building it; the same as `--call=check`
    #[arg(long)]
    pub(crate) check: bool,
    /// Answer a question instead of building: `check`, `outline` (what the target takes) or `targets` (the stages);
    /// `,format=json` is for programs, `,ignorestatus` exits with 0 whatever a check finds
    #[arg(long, value_name = "METHOD", alias = "print")]
    pub(crate) call: Option<CallArg>,
    #[command(flatten)]
    pub(crate) supply: SupplyArgs,
    #[command(flatten)]
    pub(crate) elsewhere: Elsewhere,
}

impl BuildArgs {
    /// Returns what options say of the compression of all outputs.
    pub(crate) fn compression(&self) -> CompressionArg {
        let none = self.disable_compression == Some(true);
        CompressionArg {
            algorithm: if none { Some(Algorithm::Uncompressed) } else { self.compression_format },
            level: if none { None } else { self.compression_level },
            force: self.force_compression,
        }
    }
}

/// Reads a path that may be empty: `--iidfile=$FILE` without a `FILE` is as good as none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

const EXAMPLES: &str = "\
Examples:
  stave build -t me/app .                        ./Dockerfile, context ., image me/app:latest
  stave build -t me/app:1.2 . -f Dockerfile.alt  Another Dockerfile; flags may follow the context
  stave build --target builder -t me/tools .     Stop at the stage `builder`
  stave build --build-arg VERSION=1.2 .          Set an ARG
  stave build - < Dockerfile                     A Dockerfile without a context
  tar c . | stave build -                        The context as a tar archive
  stave build https://h/app.git#main:sub         A directory of a branch of a Git repository
  stave build --build-context base=../base .     A directory that `COPY --from=base` can read
  stave build -q . | xargs stave run --rm        Only the image's id goes to standard output
  stave build --check .                          What is seldom meant in the Dockerfile
  stave build --secret id=token,env=TOKEN .      For `RUN --mount=type=secret,id=token`
  stave build --no-cache-filter test .           Run the stage `test` again, and keep the rest

Outputs:
  -o type=oci,dest=app.tar     OCI archive           -o type=docker,dest=-   `docker load` archive
  -o type=local,dest=out (or -o out)                 The image's files into a directory
  -o type=tar,dest=rootfs.tar (or -o - > x.tar)      The image's files as one tar
  -o type=registry (or --push)                       The store, and the registry of the name
  -o type=cacheonly                                  Nothing: only the cache is filled

Every option of `docker build`, `docker buildx build` and `buildah build`, and what it does here:
docs/build-options.md";

#[cfg(test)]
mod tests;
