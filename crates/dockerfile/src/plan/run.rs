//! Lowers `RUN` and `WORKDIR`.

use stave_graph::{Device, Exec, MakeDir, Mount, MountKind, Network, Op, Security};

use super::lower::Lowering;
use super::stage::Stage;
use super::{codes, variables};
use crate::ast::{Command, FlagName, Head, Run};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

/// Name of the machine that commands see, unless a build argument names another.
const HOSTNAME: &str = "buildkitsandbox";

impl Lowering<'_> {
    pub(super) fn run(&mut self, stage: &mut Stage, at: (usize, usize), head: &Head, run: &Run) -> Option<()> {
        let network = self.network(head);
        let devices = self.devices(stage, head);
        let mounts = self.mounts(stage, at, run);
        let (devices, mut mounts) = (devices?, mounts?);
        let insecure = head.flag(FlagName::Security).is_some_and(|flag| flag.value.as_str() == "insecure");
        let args = match &run.command {
            Command::Exec(args) => texts(args),
            Command::Shell(_) => stage.in_shell(&script(run, &mut mounts)),
        };
        let created_by = format!("RUN {} # buildkit", history_line(stage, &args));
        let hostname = self.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
        let exec = Exec {
            env: stage.variables.to_environment(),
            unkeyed_env: variables::proxies(self.options, &stage.variables),
            cwd: stage.cwd(),
            user: stage.config.config.user.clone(),
            hostname: hostname.map_or(HOSTNAME, String::as_str).to_owned(),
            network,
            wants_host_network: match head.flag(FlagName::Network) {
                Some(flag) if flag.value.as_str() == "host" => true,
                Some(flag) if flag.value.as_str() == "none" => false,
                _ => self.options.run.on_host,
            },
            recorded: self.options.run.recorded && network == Network::Host,
            mounts,
            security: if insecure { Security::Insecure } else { Security::Sandbox },
            devices,
            hosts: self.options.run.hosts.clone(),
            ulimits: self.options.run.ulimits.clone(),
            shm_bytes: self.options.run.shm_bytes,
            cgroup_parent: self.options.run.cgroup_parent.clone(),
            ..Exec::new(stage.node, args)
        };
        stage.node = self.add(Op::Exec(exec), head.span);
        stage.record(created_by, Some(stage.node));
        Some(())
    }

    /// The network that an instruction asks for. The parser has refused what is neither `default`, `none` nor `host`.
    fn network(&self, head: &Head) -> Network {
        match head.flag(FlagName::Network).map(|flag| flag.value.as_str()) {
            Some("host") => Network::Host,
            Some("none") => Network::None,
            _ => self.options.network,
        }
    }

    fn devices(&mut self, stage: &Stage, head: &Head) -> Option<Vec<Device>> {
        let mut devices = Some(Vec::new());
        for flag in head.flags_named(FlagName::Device) {
            let device = self.word(stage, &flag.value).and_then(|text| self.device(&text, flag.value.span()));
            devices = devices.zip(device).map(|(mut devices, device)| {
                devices.push(device);
                devices
            });
        }
        devices
    }

    /// Reads `name[,required]`, or the same as `name=...,required`.
    fn device(&mut self, text: &str, span: Span) -> Option<Device> {
        let (mut name, mut required) = (None, false);
        for field in text.split(',') {
            match field.split_once('=').filter(|(key, _)| matches!(*key, "name" | "required")) {
                Some(("required", value)) => required = value != "false",
                Some((_, value)) => name = Some(value),
                None if field == "required" => required = true,
                None if name.is_none() => name = Some(field),
                None => {
                    let message = format!("devices have no option `{field}`");
                    return self.fail(Diagnostic::error(codes::DEVICE, span, message).label("expected `required`"));
                }
            }
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Some(Device { name: name.to_owned(), required }),
            None => self.fail(Diagnostic::error(codes::DEVICE, span, "the name of the device is missing")),
        }
    }

    pub(super) fn workdir(&mut self, stage: &mut Stage, head: &Head, path: &Text) -> Option<()> {
        let path = self.word(stage, path)?;
        let path = stage.absolute(&path);
        stage.config.config.working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            stage.record(created_by, None);
            return Some(());
        }
        let owner = stage.config.config.user.clone();
        stage.node = self.add(Op::MakeDir(MakeDir { parent: stage.node, path, owner }), head.span);
        stage.record(created_by, Some(stage.node));
        Some(())
    }
}

/// Returns the text for the shell. A script that names its own interpreter becomes a file that the shell runs.
///
/// Reference: BuildKit, `frontend/dockerfile/dockerfile2llb/convert.go`, `dispatchRun`.
fn script(run: &Run, mounts: &mut Vec<Mount>) -> String {
    let script = run.script().unwrap_or_default();
    let Some(heredoc) = run.sole_heredoc().filter(|_| script.starts_with("#!")) else { return script };
    let target = format!("/dev/pipes/{}", heredoc.name);
    mounts.push(Mount::new(&target, MountKind::Inline { content: script, mode: 0o755 }));
    target
}

pub(super) fn texts(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| text.as_str().to_owned()).collect()
}

/// The arguments with the build arguments in front of them, as `docker history` shows them.
fn history_line(stage: &Stage, args: &[String]) -> String {
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for (name, value) in &stage.args {
        let value = stage.variables.get(name).or(value.as_deref()).unwrap_or_default();
        match shown.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => shown.push((name, value)),
        }
    }
    let mut words = Vec::new();
    if !shown.is_empty() {
        words.push(format!("|{}", shown.len()));
    }
    words.extend(shown.into_iter().map(|(name, value)| format!("{name}={value}")));
    words.extend(args.iter().cloned());
    words.join(" ")
}
