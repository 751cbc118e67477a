//! Lowers the instructions that change the configuration and no file.

use stave_oci::user::UserText;
use stave_oci::{Empty, Healthcheck as Check};

use super::go_text::{duration, plain_list, quoted_list};
use super::lower::Lowering;
use super::run::texts;
use super::stage::Stage;
use super::{codes, ports, signals, variables};
use crate::ast::{ArgDeclaration, Command, Healthcheck, Pairs};
use crate::diagnostic::Diagnostic;
use crate::text::Text;

impl Lowering<'_> {
    /// The declarations of one `ARG` see each other, from left to right.
    pub(super) fn arg(&mut self, stage: &mut Stage, declarations: &[ArgDeclaration]) -> Option<()> {
        let mut shown = Vec::new();
        for declaration in declarations {
            let name = self.word(stage, &declaration.name)?;
            let value = match (self.options.build_args.get(&name), &declaration.default) {
                // A default that is not used is not expanded, so that `${x:?message}` in it does not fail.
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(stage, default)?),
                (None, None) => self.globals.get(&name).map(str::to_owned),
            };
            shown.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            if let (Some(value), Some(env)) = (&value, stage.config.config.env_value(&name))
                && env != value
            {
                // K001 of the feature list: the later one wins, as in BuildKit's code.
                let message = format!("`ARG {name}` hides `ENV {name}` from the commands that follow");
                self.diagnostics.push(
                    Diagnostic::warning(codes::ARG_OVER_ENV, declaration.name.span(), message)
                        .label(format!("commands see `{value}`"))
                        .hint(format!("The image keeps `{name}={env}`. Use another name for one of them.")),
                );
            }
            match value.as_deref() {
                _ if variables::is_hidden(&name) => {}
                Some(value) => stage.variables.set(&name, value),
                None => stage.variables.declare(&name),
            }
            stage.args.push((name, value));
        }
        stage.record(format!("ARG {}", shown.join(" ")), None);
        Some(())
    }

    pub(super) fn env(&mut self, stage: &mut Stage, pairs: &Pairs) -> Option<()> {
        let pairs = self.pairs(stage, pairs)?;
        for (name, value) in &pairs {
            stage.variables.set(name, value);
            stage.config.config.set_env(name, value);
        }
        stage.record(format!("ENV {}", joined(&pairs)), None);
        Some(())
    }

    pub(super) fn label(&mut self, stage: &mut Stage, pairs: &Pairs) -> Option<()> {
        let pairs = self.pairs(stage, pairs)?;
        stage.record(format!("LABEL {}", joined(&pairs)), None);
        stage.config.config.labels.extend(pairs);
        Some(())
    }

    /// All words of one instruction see the variables from before it.
    fn pairs(&mut self, stage: &Stage, pairs: &Pairs) -> Option<Vec<(String, String)>> {
        let mut expanded = Some(Vec::new());
        for pair in &pairs.pairs {
            let name = self.named(stage, &pair.name, "name");
            let value = self.word(stage, &pair.value);
            expanded = expanded.zip(name.zip(value)).map(|(mut expanded, pair)| {
                expanded.push(pair);
                expanded
            });
        }
        expanded
    }

    /// Expands a word that must not become empty.
    fn named(&mut self, stage: &Stage, text: &Text, what: &str) -> Option<String> {
        let word = self.word(stage, text)?;
        if word.is_empty() {
            let message = format!("the {what} is empty");
            return self.fail(Diagnostic::error(codes::EMPTY, text.span(), message).label("nothing is left of it"));
        }
        Some(word)
    }

    pub(super) fn expose(&mut self, stage: &mut Stage, words: &[Text]) -> Option<()> {
        let mut ports = Some(Vec::new());
        for text in words {
            for word in self.words(stage, text).unwrap_or_default() {
                match ports::parse(&word) {
                    Ok(more) => ports.iter_mut().for_each(|ports| ports.extend(more.iter().cloned())),
                    Err(error) => {
                        ports = None;
                        self.diagnostics.push(
                            Diagnostic::error(codes::PORT, text.span(), format!("`{word}` is no port: {error}"))
                                .hint("Ports are written `80`, `8000-8010`, `53/udp`."),
                        );
                    }
                }
            }
        }
        let mut ports = ports?;
        ports.sort();
        ports.dedup();
        stage.record(format!("EXPOSE {}", plain_list(&ports)), None);
        stage.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
        Some(())
    }

    pub(super) fn user(&mut self, stage: &mut Stage, text: &Text) -> Option<()> {
        let user = self.word(stage, text)?;
        // An image may have a user that nobody can be, and one that is nothing is root.
        if let (false, Err(error)) = (user.is_empty(), UserText::parse(&user)) {
            self.diagnostics.push(
                Diagnostic::warning(codes::USER, text.span(), error.to_string()).label("no step can run as this user"),
            );
        }
        stage.record(format!("USER {user}"), None);
        stage.config.config.user = user;
        Some(())
    }

    pub(super) fn volume(&mut self, stage: &mut Stage, words: &[Text]) -> Option<()> {
        let before = self.diagnostics.len();
        let mut volumes = Some(Vec::new());
        for text in words {
            let path = self.named(stage, text, "volume's path");
            volumes = volumes.zip(path).map(|(mut volumes, path)| {
                volumes.push(path);
                volumes
            });
        }
        self.join_quotes(before, "VOLUME");
        let volumes = volumes?;
        stage.record(format!("VOLUME {}", plain_list(&volumes)), None);
        stage.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        Some(())
    }

    pub(super) fn stopsignal(&mut self, stage: &mut Stage, text: &Text) -> Option<()> {
        let signal = self.named(stage, text, "signal")?;
        if let Some(number) = signals::foreign(&signal) {
            let message = format!("Linux has no signal {number}");
            self.diagnostics.push(Diagnostic::warning(codes::SIGNAL, text.span(), message));
        } else if !signals::is_signal(&signal) {
            let hint = signals::similar(&signal).map(|name| format!("A signal with a similar name is `{name}`."));
            return self.fail(
                Diagnostic::error(codes::SIGNAL, text.span(), format!("there is no signal `{signal}`"))
                    .label("expected a name such as `SIGTERM`, or a number")
                    .maybe_hint(hint),
            );
        }
        stage.record(format!("STOPSIGNAL {signal}"), None);
        stage.config.config.stop_signal = Some(signal);
        Some(())
    }
}

pub(super) fn cmd(stage: &mut Stage, command: &Command) {
    let args = arguments(stage, command);
    stage.record(format!("CMD {}", quoted_list(&args)), None);
    stage.config.config.cmd = Some(args).filter(|args| !args.is_empty());
    stage.config.config.args_escaped = Some(true);
    stage.has_cmd = true;
}

/// A `CMD` of the base was written for the base's entrypoint, so it does not survive a new one.
pub(super) fn entrypoint(stage: &mut Stage, command: &Command) {
    let args = arguments(stage, command);
    stage.record(format!("ENTRYPOINT {}", quoted_list(&args)), None);
    stage.config.config.entrypoint = Some(args).filter(|args| !args.is_empty());
    if !stage.has_cmd {
        stage.config.config.cmd = None;
    }
}

pub(super) fn shell(stage: &mut Stage, words: &[Text]) {
    let shell = texts(words);
    stage.record(format!("SHELL {}", plain_list(&shell)), None);
    stage.config.config.shell = Some(shell).filter(|shell| !shell.is_empty());
}

pub(super) fn healthcheck(stage: &mut Stage, check: &Healthcheck) {
    let check = match check {
        Healthcheck::None => Check { test: vec!["NONE".to_owned()], ..Check::default() },
        Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } => {
            let set = |value: &Option<i64>| value.filter(|&value| value != 0);
            let test = match command {
                Command::Exec(args) => [vec!["CMD".to_owned()], texts(args)].concat(),
                Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.as_str().to_owned()],
            };
            Check {
                test,
                interval: set(interval),
                timeout: set(timeout),
                start_period: set(start_period),
                start_interval: set(start_interval),
                retries: set(retries),
            }
        }
    };
    let time = |value: Option<i64>| duration(value.unwrap_or_default());
    stage.record(
        format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            plain_list(&check.test),
            time(check.interval),
            time(check.timeout),
            time(check.start_period),
            time(check.start_interval),
            check.retries.unwrap_or_default(),
        ),
        None,
    );
    stage.config.config.healthcheck = Some(check);
}

pub(super) fn maintainer(stage: &mut Stage, author: &Text) {
    stage.config.author = Some(author.as_str().to_owned());
    stage.record(format!("MAINTAINER {}", author.as_str()), None);
}

fn arguments(stage: &Stage, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(args) => texts(args),
        Command::Shell(text) => stage.in_shell(text.as_str()),
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}
