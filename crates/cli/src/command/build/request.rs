//! A request for the engine, made from the arguments.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use stave_engine::{
    BuildRequest, ContextSource, DockerfileSource, EpochRequest, EpochSource, FileReading, Indexing,
    NamedContextSource, OnMiss, PolicyEnvironment, PullPolicy, RunDefaults, SharedLimits, Ulimit,
};
use stave_oci::Platform;

use super::agent::KeyAgent;
use super::caches::caches;
use super::outputs::{self, Results};
use super::variables::{SOURCE_DATE_EPOCH, Surroundings};
use super::{grants, supply, vcs};
use crate::args::{
    BuildArgs, BuildExplain, ContextArg, ContextPlace, HostArg, LimitOptions, NetworkMode, OutputArg, OutputKind,
    Timestamp, epoch_seconds, truth,
};
use crate::failure::Failure;

/// The build argument that makes an index also of one platform.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Returns the request, and the agents that must live as long as the build; adds to `notes` what the user should know.
pub(super) fn request(
    args: BuildArgs,
    surroundings: &Surroundings<'_>,
    notes: &mut Vec<String>,
) -> Result<(BuildRequest, Vec<KeyAgent>), Failure> {
    let Results { keep, names: tags, outputs, regroup } = outputs::results(&args, surroundings)?;
    let mut labels = vcs::labels(&args.context, args.files.last().map(PathBuf::as_path), surroundings, notes);
    labels.extend(args.labels.into_iter().map(|label| (label.name, label.value.unwrap_or_default())));
    let attestations = args.supply.attestations();
    let files: Vec<PathBuf> = args.files.into_iter().filter(|file| is_given(file)).collect();
    let file = files.last().map(PathBuf::as_path);
    let mut rules = supply::rules(&args.supply, (&args.context, file), surroundings)?;
    let file_name =
        file.and_then(Path::file_name).map_or("Dockerfile".into(), |name| name.to_string_lossy().into_owned());
    let (context, dockerfile) = sources(args.context, files)?;
    let ignore_file = args.ignorefile.filter(|file| is_given(file));
    let mut build_args = surroundings.build_args(&args.build_args, &args.build_arg_files)?;
    if let Some(epoch) = args.source_date_epoch {
        build_args.insert(SOURCE_DATE_EPOCH.to_owned(), epoch);
    }
    rules.environment = PolicyEnvironment {
        args: build_args.clone(),
        labels: labels.iter().cloned().collect(),
        filename: file_name,
        target: args.target.clone().unwrap_or_default(),
    };
    let epoch = epoch(&args.outputs, (args.timestamp, args.rewrite_timestamp), &build_args)?;
    let platforms = surroundings.platforms(&args.platforms)?;
    let indexing = indexing(&build_args, &platforms)?;
    let (grants, agents) = grants::grants(args.secrets, args.ssh, &args.allowed, args.network, surroundings, notes)?;
    let inline = build_args.get("BUILDKIT_INLINE_CACHE").and_then(|text| truth(text)).unwrap_or(false);
    let caches = caches((&args.cache_from, &args.cache_to, inline), args.cache_ttl, surroundings)?;
    let request = BuildRequest {
        context,
        contexts: contexts(args.contexts)?,
        dockerfile,
        reading: FileReading { ignore_file, preprocessor_flags: args.cpp_flags },
        tags,
        verify: args.verify,
        epoch,
        build_args,
        target: args.target.filter(|target| !target.is_empty()),
        use_cache: !args.no_cache,
        rerun_stages: args.no_cache_filter.into_iter().filter(|stage| !stage.is_empty()).collect(),
        on_miss: match args.explain {
            _ if args.fail_on_miss => OnMiss::Fail,
            Some(BuildExplain::None) => OnMiss::Run,
            _ => OnMiss::Explain,
        },
        pull: args.pull.map_or(PullPolicy::Missing, |pull| pull.0),
        indexing,
        platforms,
        labels,
        network: args.network.into(),
        run: RunDefaults {
            hosts: hosts(args.hosts),
            ulimits: ulimits(args.ulimits),
            shm_bytes: args.shm_size.filter(|bytes| *bytes > 0),
            cgroup_parent: args.cgroup_parent.filter(|parent| !parent.is_empty()),
            recorded: args.proxy_network,
            on_host: args.proxy_network && args.network == NetworkMode::Host,
        },
        limits: limits(&args.limits, args.resources),
        grants,
        rules,
        attestations,
        keep,
        regroup,
        outputs,
        caches,
    };
    Ok((request, agents))
}

/// Returns when an index lists the images, as a build argument says it.
///
/// Reference: BuildKit, `frontend/dockerui/config.go`, `multi-platform`.
fn indexing(build_args: &BTreeMap<String, String>, platforms: &[Platform]) -> Result<Indexing, Failure> {
    let text = build_args.get(MULTI_PLATFORM).map(String::as_str).unwrap_or_default();
    match truth(text) {
        None if text.is_empty() => Ok(Indexing::Several),
        None => Err(Failure::usage(format!("`{MULTI_PLATFORM}` is `{text}`, expected `true` or `false`"))),
        Some(true) => Ok(Indexing::Always),
        Some(false) if platforms.len() < 2 => Ok(Indexing::Several),
        Some(false) => {
            let platforms: Vec<String> = platforms.iter().map(Platform::to_string).collect();
            let message = format!("`{MULTI_PLATFORM}` is `{text}`, and the build is for {}", platforms.join(", "));
            Err(Failure::usage(message).with_hint("Leave it out, or build each platform by itself."))
        }
    }
}

/// Joins what the options say of limits; `--resource` counts more.
fn limits(options: &LimitOptions, resources: Vec<SharedLimits>) -> SharedLimits {
    resources.into_iter().fold(options.limits(), |before, next| SharedLimits {
        memory: next.memory.or(before.memory),
        swap: next.swap.or(before.swap),
        cpu_quota: next.cpu_quota.or(before.cpu_quota),
        cpu_period: next.cpu_period.or(before.cpu_period),
        cpu_shares: next.cpu_shares.or(before.cpu_shares),
        cpus: next.cpus.or(before.cpus),
        nodes: next.nodes.or(before.nodes),
        processes: None,
    })
}

/// Whether a path says anything: `--file=` is what remains of `--file=$FILE`.
pub(super) fn is_given(path: impl AsRef<Path>) -> bool {
    !path.as_ref().as_os_str().is_empty()
}

fn hosts(given: Vec<HostArg>) -> Vec<(String, String)> {
    let lines = |host: HostArg| {
        host.addresses.into_iter().map(move |address| (host.name.clone(), address.to_string())).collect::<Vec<_>>()
    };
    given.into_iter().flat_map(lines).collect()
}

/// The last of each name counts, and their order means nothing.
fn ulimits(given: Vec<Ulimit>) -> Vec<Ulimit> {
    let by_name: BTreeMap<String, Ulimit> = given.into_iter().map(|limit| (limit.name.clone(), limit)).collect();
    by_name.into_values().collect()
}

fn sources(context: PathBuf, files: Vec<PathBuf>) -> Result<(ContextSource, DockerfileSource), Failure> {
    let stdin = Path::new("-");
    let from_stdin = files.iter().filter(|file| *file == stdin).count();
    if context == stdin && from_stdin > 0 {
        return Err(Failure::usage("the context and the Dockerfile cannot both come from standard input"));
    }
    if from_stdin > 1 {
        return Err(Failure::usage("two Dockerfiles cannot both come from standard input"));
    }
    if context == stdin || from_stdin > 0 {
        refuse_terminal_input()?;
    }
    let read = |file: PathBuf| {
        if file == stdin { DockerfileSource::Stream(Box::new(std::io::stdin())) } else { dockerfile_at(file) }
    };
    let mut files: Vec<DockerfileSource> = files.into_iter().map(read).collect();
    let dockerfile = match files.len() {
        0 => DockerfileSource::Default,
        1 => files.remove(0),
        _ => DockerfileSource::Several(files),
    };
    let context =
        if context == stdin { ContextSource::Stream(Box::new(std::io::stdin())) } else { context_at(context)? };
    Ok((context, dockerfile))
}

fn refuse_terminal_input() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is a terminal, expected a Dockerfile or a tar archive")
            .with_hint("Give the context as a directory: `stave build .`"));
    }
    Ok(())
}

/// Returns what the context is: a directory that is there comes before an address that looks the same.
fn context_at(path: PathBuf) -> Result<ContextSource, Failure> {
    match path.to_str().filter(|_| !path.is_dir()).and_then(ContextSource::of_address) {
        Some(remote) => remote.map_err(Failure::from),
        None => Ok(ContextSource::Directory(path)),
    }
}

/// Returns what `-f` names: a file that is there comes before an address that looks the same.
fn dockerfile_at(path: PathBuf) -> DockerfileSource {
    let remote = path.to_str().filter(|_| !path.exists()).and_then(DockerfileSource::of_address);
    remote.unwrap_or(DockerfileSource::Path(path))
}

/// Returns what names stand for; of a name that is given twice, the last.
fn contexts(given: Vec<ContextArg>) -> Result<BTreeMap<String, NamedContextSource>, Failure> {
    let source = |place| match place {
        ContextPlace::Image(name) => NamedContextSource::parse(&format!("docker-image://{name}")),
        ContextPlace::Layout(layout) => NamedContextSource::parse(&format!("oci-layout://{layout}")),
        ContextPlace::Stage(name) => Ok(NamedContextSource::Target(name)),
        ContextPlace::Remote(address) => NamedContextSource::parse(&address),
        ContextPlace::Directory(path) => match path.to_str() {
            Some(text) => NamedContextSource::parse(text),
            None => Ok(NamedContextSource::Directory(path)),
        },
    };
    given.into_iter().map(|ContextArg { name, place }| Ok((name, source(place)?))).collect()
}

/// Returns what outputs say of their image. It is one image, so that all must say the same.
fn of_images<'a, T: PartialEq>(
    outputs: &'a [OutputArg],
    field: &str,
    said: impl Fn(&'a OutputArg) -> Option<&'a T>,
) -> Result<Option<&'a T>, Failure> {
    let is_image = |output: &&OutputArg| match output.kind {
        OutputKind::Oci | OutputKind::Docker | OutputKind::Image => true,
        OutputKind::Tar | OutputKind::Local | OutputKind::CacheOnly => false,
    };
    let mut all = outputs.iter().filter(is_image).map(said);
    let Some(first) = all.next() else { return Ok(None) };
    if all.any(|other| other != first) {
        return Err(disagreement(field));
    }
    Ok(first)
}

/// Returns the name that outputs of files give for the epoch: what it stands for is found out once, for the build.
fn named_by_files(outputs: &[OutputArg]) -> Result<Option<&String>, Failure> {
    let is_files = |output: &&OutputArg| matches!(output.kind, OutputKind::Tar | OutputKind::Local);
    let mut names = outputs.iter().filter(is_files).filter_map(|output| output.epoch.as_ref());
    let first = names.next();
    if names.any(|other| Some(other) != first) { Err(disagreement("source-date-epoch")) } else { Ok(first) }
}

fn disagreement(field: &str) -> Failure {
    Failure::usage(format!("the outputs are of one image, and do not agree on its `{field}`"))
        .with_hint("Give it to all of them, or build each by itself.")
}

/// Returns the times of what the build makes, as outputs, options and a build argument say them.
fn epoch(
    outputs: &[OutputArg],
    (timestamp, rewrite_timestamp): (Option<Timestamp>, bool),
    build_args: &BTreeMap<String, String>,
) -> Result<EpochRequest, Failure> {
    let of_output = of_images(outputs, "source-date-epoch", |output| output.epoch.as_ref())?;
    let of_output = match named_by_files(outputs)? {
        Some(named) if of_output.is_some_and(|epoch| epoch != named) => return Err(disagreement("source-date-epoch")),
        named => of_output.or(named),
    };
    let given = of_output.or_else(|| build_args.get(SOURCE_DATE_EPOCH));
    let rewrite = of_images(outputs, "rewrite-timestamp", |output| output.rewrite.as_ref())?;
    let source = match timestamp {
        Some(Timestamp::Now) => EpochSource::Clock,
        Some(Timestamp::Seconds(seconds)) => EpochSource::Exactly(seconds),
        None => epoch_source(given.map(String::as_str))?,
    };
    Ok(EpochRequest { source, rewrite_files: *rewrite.unwrap_or(&rewrite_timestamp) })
}

/// Returns what `SOURCE_DATE_EPOCH` means; nothing and an empty text are the same.
fn epoch_source(text: Option<&str>) -> Result<EpochSource, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(EpochSource::Inputs) };
    match epoch_seconds(text) {
        Ok(Some(seconds)) => Ok(EpochSource::Seconds(seconds)),
        Ok(None) => Ok(EpochSource::Named(text.to_owned())),
        Err(why) => Err(Failure::usage(format!("{SOURCE_DATE_EPOCH} is `{text}`: {why}"))),
    }
}
