//! Lowers `RUN` and `WORKDIR`.

use stave_graph::{Exec, MakeDir, Network, Op};

use super::lower::Lowering;
use super::stage::Stage;
use super::{codes, variables};
use crate::ast::{Command, FlagName, Head, Run};
use crate::diagnostic::Diagnostic;
use crate::text::Text;

/// Name of the machine that commands see, unless a build argument names another.
const HOSTNAME: &str = "buildkitsandbox";

impl Lowering<'_> {
    pub(super) fn run(&mut self, stage: &mut Stage, head: &Head, run: &Run) -> Option<()> {
        let network = self.network(head);
        let flags = self.run_flags(head);
        if let Some(heredoc) = run.heredocs.first() {
            return self.not_supported(heredoc.marker.span(), "a heredoc");
        }
        let (network, ()) = (network?, flags?);
        let args = match &run.command {
            Command::Exec(args) => texts(args),
            Command::Shell(text) => stage.in_shell(text.as_str()),
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

    fn network(&mut self, head: &Head) -> Option<Network> {
        let Some(flag) = head.flag(FlagName::Network) else { return Some(self.options.network) };
        match flag.value.as_str() {
            "default" => Some(self.options.network),
            "host" => Some(Network::Host),
            "none" => Some(Network::None),
            other => self.fail(
                Diagnostic::error(codes::NETWORK, flag.value.span(), format!("there is no network `{other}`"))
                    .label("expected `default`, `none` or `host`"),
            ),
        }
    }

    /// Refuses flags that mean something which cannot be done yet.
    fn run_flags(&mut self, head: &Head) -> Option<()> {
        let mut accepted = Some(());
        for flag in &head.flags {
            let sandboxed = flag.name == FlagName::Security && flag.value.as_str() == "sandbox";
            if flag.name != FlagName::Network && !sandboxed {
                accepted = self.not_supported(flag.span, &format!("`RUN --{}`", flag.name.as_str()));
            }
        }
        accepted
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
