//! Lowers the mounts of `RUN`: options with variables in them become values, names become files.
//!
//! Reference: the Dockerfile reference, "RUN --mount"; BuildKit, `frontend/dockerfile/dockerfile2llb/convert_runmount.go`,
//! `convert_secrets.go` and `convert_ssh.go`.

use std::collections::BTreeSet;

use stave_graph::{self as graph, MountFlag, MountKind, MountSource, Sharing};

use super::codes;
use super::copy::relative;
use super::lower::Lowering;
use super::stage::Stage;
use crate::ast::{Mount, MountKey, Run};
use crate::diagnostic::Diagnostic;
use crate::parse::go_bool;
use crate::parse::mount as syntax;
use crate::span::Span;

/// Where secrets are that say nothing else.
const SECRETS: &str = "/run/secrets";
/// Permissions and owner of secrets, sockets and caches that say nothing else.
const SECRET_MODE: u32 = 0o400;
const SOCKET_MODE: u32 = 0o600;
const CACHE_MODE: u32 = 0o755;
/// The SSH agent that is meant where nothing is said.
const DEFAULT_AGENT: &str = "default";

/// The options of one mount, expanded; of an option that is written twice, the last.
struct Options {
    span: Span,
    values: Vec<(MountKey, Option<String>, Span)>,
}

impl Options {
    fn find(&self, key: MountKey) -> Option<&(MountKey, Option<String>, Span)> {
        self.values.iter().rev().find(|(known, ..)| *known == key)
    }

    /// The value; empty if there is only the name.
    fn text(&self, key: MountKey) -> Option<&str> {
        self.find(key).map(|(_, value, _)| value.as_deref().unwrap_or_default())
    }

    /// The value, unless it is empty.
    fn some(&self, key: MountKey) -> Option<&str> {
        self.text(key).filter(|text| !text.is_empty())
    }

    fn switch(&self, key: MountKey) -> Option<bool> {
        self.find(key).map(|(_, value, _)| value.as_deref().and_then(go_bool).unwrap_or(true))
    }

    fn number(&self, key: MountKey) -> Option<u32> {
        self.text(key).and_then(syntax::number)
    }

    fn mode(&self) -> Option<u32> {
        self.text(MountKey::Mode).and_then(syntax::octal)
    }

    fn owner(&self) -> (u32, u32) {
        (self.number(MountKey::Uid).unwrap_or(0), self.number(MountKey::Gid).unwrap_or(0))
    }

    /// What is denied on the mount, whose its files are, and whether links are followed to them. Devices are always denied.
    fn flags(&self) -> BTreeSet<MountFlag> {
        let flags = [
            (MountKey::NoSuid, MountFlag::NoSuid),
            (MountKey::NoExec, MountFlag::NoExec),
            (MountKey::ForUser, MountFlag::ForUser),
            (MountKey::NoDereference, MountFlag::NoDereference),
        ];
        flags.into_iter().filter(|(key, _)| self.find(*key).is_some()).map(|(_, flag)| flag).collect()
    }

    /// Whether the command may write, where `default` is what is true if nothing is said.
    fn writable(&self, default: bool) -> bool {
        let read_only = self.switch(MountKey::ReadOnly).map(|on| !on);
        self.switch(MountKey::ReadWrite).or(read_only).unwrap_or(default)
    }
}

impl Lowering<'_> {
    /// Lowers all mounts of a command; mistakes in several are all reported.
    pub(super) fn mounts(&mut self, stage: &Stage, at: (usize, usize), run: &Run) -> Option<Vec<graph::Mount>> {
        let mut mounts = Some(Vec::new());
        let mut sockets = 0;
        for (slot, mount) in (1..).zip(&run.mounts) {
            let place = self.mount_source(at, slot, mount);
            let options = self.mount_options(stage, mount);
            let lowered = match (place, options) {
                (Some(place), Some(options)) => self
                    .mount(stage, place, &options, &mut sockets)
                    .map(|mount| graph::Mount { flags: options.flags(), ..mount }),
                _ => None,
            };
            mounts = mounts.zip(lowered).map(|(mut mounts, mount)| {
                mounts.push(mount);
                mounts
            });
        }
        mounts
    }

    /// What `from` names; `Some(None)` if it is not written.
    #[expect(clippy::option_option, reason = "nothing written and a mistake are two things")]
    fn mount_source(&mut self, at: (usize, usize), slot: usize, mount: &Mount) -> Option<Option<MountSource>> {
        let from = mount.options.iter().rfind(|option| option.key == MountKey::From);
        let from = from.and_then(|option| option.value.as_ref()).filter(|value| !value.is_empty());
        let Some(value) = from else { return Some(None) };
        let place = self.stages.froms.get(&(at.0, at.1, slot))?.clone();
        self.files(&place, at.0, value.span()).map(Some)
    }

    fn mount_options(&mut self, stage: &Stage, mount: &Mount) -> Option<Options> {
        let mut values = Some(Vec::new());
        for option in &mount.options {
            let value = match &option.value {
                Some(text) => self.word(stage, text).map(Some),
                None => Some(None),
            };
            let span = option.value.as_ref().map_or(option.key_span, crate::text::Text::span);
            let wrong = value.as_ref().and_then(|value| syntax::bad_value(option.key, value.as_deref()?));
            let value = match wrong {
                // The parser has looked at values without variables.
                Some((expected, near)) => {
                    let name = syntax::name(option.key);
                    let found = value.flatten().unwrap_or_default();
                    let message = format!("expected {expected} for mount option `{name}`, got `{found}`");
                    let hint = near.map(|near| format!("A similar value is `{near}`."));
                    self.fail(Diagnostic::error(codes::MOUNT, span, message).maybe_hint(hint))
                }
                None => value,
            };
            values = values.zip(value).map(|(mut values, value)| {
                values.push((option.key, value, span));
                values
            });
        }
        values.map(|values| Options { span: mount.span, values })
    }

    fn mount(
        &mut self,
        stage: &Stage,
        from: Option<MountSource>,
        options: &Options,
        sockets: &mut u32,
    ) -> Option<graph::Mount> {
        let kind = options.some(MountKey::Type).unwrap_or("bind").to_ascii_lowercase();
        if let Some((key, _, span)) = options.values.iter().find(|(key, ..)| !syntax::has(&kind, *key)) {
            let message = format!("mounts of type `{kind}` have no option `{}`", syntax::name(*key));
            return self.fail(Diagnostic::error(codes::MOUNT, *span, message));
        }
        let context = MountSource::Context(graph::ContextId::MAIN);
        let path = relative(options.text(MountKey::Source).unwrap_or_default());
        match kind.as_str() {
            "secret" => self.secret(stage, options),
            "ssh" => Some(ssh(stage, options, sockets)),
            "tmpfs" => {
                let bytes = options.text(MountKey::Size).and_then(syntax::size);
                let kind = if options.writable(true) {
                    MountKind::Tmpfs { bytes }
                } else {
                    MountKind::Bind { source: MountSource::Empty, path: ".".to_owned(), writable: false }
                };
                Some(graph::Mount::new(&self.target(stage, options)?, kind))
            }
            "cache" => {
                let target = self.target(stage, options)?;
                let written = options.some(MountKey::Target).unwrap_or_default();
                let id = options.some(MountKey::Id).map_or_else(|| cleaned(written), str::to_owned);
                let namespace = self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").filter(|name| !name.is_empty());
                let (uid, gid) = options.owner();
                let kind = MountKind::Cache {
                    id: namespace.map_or(id.clone(), |namespace| format!("{namespace}/{id}")),
                    source: from.unwrap_or(MountSource::Empty),
                    path,
                    writable: options.writable(true),
                    sharing: sharing(options.text(MountKey::Sharing).unwrap_or_default()),
                    mode: options.mode().unwrap_or(CACHE_MODE),
                    uid,
                    gid,
                };
                Some(graph::Mount::new(&target, kind))
            }
            _ => {
                let source = from.unwrap_or(context);
                let kind = MountKind::Bind { source, path, writable: options.writable(false) };
                Some(graph::Mount::new(&self.target(stage, options)?, kind))
            }
        }
    }

    /// Where a mount is that must say so.
    fn target(&mut self, stage: &Stage, options: &Options) -> Option<String> {
        let Some(target) = options.some(MountKey::Target) else {
            return self.fail(Diagnostic::error(codes::MOUNT, options.span, "the mount has no `target`"));
        };
        let target = stage.absolute(target);
        if target == "/" {
            let message = "a mount cannot be the root directory";
            return self.fail(Diagnostic::error(codes::MOUNT, options.span, message));
        }
        Some(target)
    }

    fn secret(&mut self, stage: &Stage, options: &Options) -> Option<graph::Mount> {
        let target = options.some(MountKey::Target);
        let id = options.some(MountKey::Source).or(options.some(MountKey::Id));
        let Some(id) = id.or_else(|| target.map(base_name)).filter(|id| !id.is_empty()) else {
            return self.fail(Diagnostic::error(
                codes::MOUNT,
                options.span,
                "the secret has neither `id` nor `target`",
            ));
        };
        let env = options.some(MountKey::Env).map(str::to_owned);
        let file = target.is_some() || env.is_none();
        let place = || target.map_or_else(|| format!("{SECRETS}/{}", base_name(id)), |target| stage.absolute(target));
        let (uid, gid) = options.owner();
        let kind = MountKind::Secret {
            id: id.to_owned(),
            required: options.switch(MountKey::Required).unwrap_or(false),
            mode: options.mode().unwrap_or(SECRET_MODE),
            uid,
            gid,
            env,
            file,
        };
        Some(graph::Mount::new(&if file { place() } else { String::new() }, kind))
    }
}

fn ssh(stage: &Stage, options: &Options, sockets: &mut u32) -> graph::Mount {
    let target = if let Some(target) = options.some(MountKey::Target) {
        stage.absolute(target)
    } else {
        *sockets += 1;
        format!("/run/buildkit/ssh_agent.{}", *sockets - 1)
    };
    let (uid, gid) = options.owner();
    let kind = MountKind::Ssh {
        id: options.some(MountKey::Id).unwrap_or(DEFAULT_AGENT).to_owned(),
        required: options.switch(MountKey::Required).unwrap_or(false),
        mode: options.mode().unwrap_or(SOCKET_MODE),
        uid,
        gid,
    };
    graph::Mount::new(&target, kind)
}

fn sharing(text: &str) -> Sharing {
    match text.to_ascii_lowercase().as_str() {
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        _ => Sharing::Shared,
    }
}

fn cleaned(path: &str) -> String {
    String::from_utf8(stave_pattern::clean(path.as_bytes())).expect("cleaning only drops whole components")
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
