//! What an operation does, by name: turns it into the values that a person sets, so that two can be compared.
//!
//! All that is part of a cache key is here, but the inputs and the variables of a command, which are known by
//! themselves; `tests/prop_describe.rs` holds the two together.

use std::fmt::Write as _;

use crate::exec::{Exec, Mount, MountKind, MountSource, Network, Security, Sharing};
use crate::op::{After, Copy, CopySource, Git, Http, Image, MakeDir, Merge, Op, Unpack};
use crate::remote::{GitSource, GitTime, redacted};

/// One value that decides what an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where the mount is that it is an option of, or its name where it has no place; none for all else.
    pub mount: Option<String>,
    /// What it is called where it is set: `--chown`, `WORKDIR`, `sharing`.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// Whether it stands in the words of the instruction.
    pub text: bool,
}

/// Returns what `op` does, value by value. What is not set is not there.
#[must_use]
pub fn describe(op: &Op) -> Vec<Description> {
    let mut list = List::default();
    match op {
        Op::Scratch => list.text("instruction", "FROM scratch"),
        Op::Image(Image { id: _, diff_ids: _ }) => list.text("instruction", "FROM"),
        Op::Exec(exec) => list.exec(exec),
        Op::Copy(copy) => list.copy(copy),
        Op::MakeDir(MakeDir { parent: _, path, owner }) => {
            list.text("instruction", "WORKDIR");
            list.text("path", path);
            list.some("USER", owner);
        }
        Op::Http(Http { url: _, name, checksum: _ }) => {
            list.text("instruction", "ADD");
            list.text("file name", name);
        }
        Op::Git(Git { source }) => list.git(source),
        Op::Merge(Merge { lower: _, upper: _ }) => list.set("--link", "true"),
        Op::After(After { parent: _, others: _ }) => list.set("--after", "true"),
    }
    list.0
}

#[derive(Default)]
struct List(Vec<Description>);

impl List {
    fn push(&mut self, mount: Option<&str>, name: &'static str, value: &str, text: bool) {
        let (mount, value) = (mount.map(str::to_owned), value.to_owned());
        self.0.push(Description { mount, name, value, text });
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.push(None, name, value, true);
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.push(None, name, value, false);
    }

    /// Adds a value unless it is empty, which is how it is when nobody sets it.
    fn some(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.set(name, value);
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        if value {
            self.set(name, "true");
        }
    }

    fn exec(&mut self, exec: &Exec) {
        let Exec {
            parent: _,
            args,
            env: _,
            unkeyed_env: _,
            cwd,
            user,
            hostname,
            network,
            wants_host_network: _,
            recorded,
            mounts,
            security,
            hosts,
            ulimits,
            shm_bytes,
            devices,
            cgroup_parent,
        } = exec;
        self.text("instruction", "RUN");
        self.text("command", &words(args));
        for mount in mounts {
            self.mount(mount);
        }
        self.set("WORKDIR", cwd);
        self.some("USER", user);
        self.set("BUILDKIT_SANDBOX_HOSTNAME", hostname);
        if *recorded {
            self.set("--proxy-network", "true");
        }
        self.set(
            "--network",
            match network {
                Network::Host => "default",
                Network::None => "none",
            },
        );
        self.set(
            "--security",
            match security {
                Security::Sandbox => "sandbox",
                Security::Insecure => "insecure",
            },
        );
        for (name, _address) in hosts {
            self.set("--add-host", name);
        }
        for limit in ulimits {
            self.set("--ulimit", &format!("{}={}:{}", limit.name, limit.soft, limit.hard));
        }
        if let Some(bytes) = shm_bytes {
            self.set("--shm-size", &bytes.to_string());
        }
        for device in devices {
            self.set("--device", &format!("{}{}", device.name, if device.required { ",required" } else { "" }));
        }
        if let Some(cgroup) = cgroup_parent {
            self.set("--cgroup-parent", cgroup);
        }
    }

    fn mount(&mut self, Mount { target, flags, kind }: &Mount) {
        let place = match kind {
            MountKind::Secret { id, .. } | MountKind::Ssh { id, .. } if target.is_empty() => id,
            _ => target,
        };
        let mut set = |name, value: &str| self.push(Some(place), name, value, false);
        for flag in flags {
            set(flag.as_str(), "true");
        }
        match kind {
            MountKind::Bind { source, path, writable } => {
                set("type", "bind");
                set("from", from(*source));
                set("source", path);
                set("readwrite", &writable.to_string());
            }
            MountKind::Cache { id, source, path, writable, sharing, mode, uid, gid } => {
                set("type", "cache");
                set("id", id);
                set("from", from(*source));
                set("source", path);
                set("readwrite", &writable.to_string());
                set(
                    "sharing",
                    match sharing {
                        Sharing::Shared => "shared",
                        Sharing::Private => "private",
                        Sharing::Locked => "locked",
                    },
                );
                file(&mut set, (*mode, *uid, *gid));
            }
            MountKind::Tmpfs { bytes } => {
                set("type", "tmpfs");
                if let Some(bytes) = bytes {
                    set("size", &bytes.to_string());
                }
            }
            MountKind::Secret { id, required, mode, uid, gid, env, file: is_file } => {
                set("type", "secret");
                set("id", id);
                set("target", target);
                set("required", &required.to_string());
                file(&mut set, (*mode, *uid, *gid));
                if let Some(env) = env {
                    set("env", env);
                }
                set("file", &is_file.to_string());
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                set("type", "ssh");
                set("id", id);
                set("target", target);
                set("required", &required.to_string());
                file(&mut set, (*mode, *uid, *gid));
            }
            MountKind::Inline { content, mode } => {
                set("type", "heredoc");
                set("mode", &octal(*mode));
                self.push(Some(place), "content", content, true);
            }
        }
    }

    fn copy(&mut self, copy: &Copy) {
        let Copy { parent: _, sources, dest, dest_is_dir, chown, chmod, unpack, parents, excludes } = copy;
        self.text("instruction", "COPY");
        for source in sources {
            match source {
                CopySource::Context { context: _, pattern } => self.text("source", pattern),
                CopySource::Tree { node: _, pattern } => self.text("source of --from", pattern),
                CopySource::Inline { name, content } => {
                    self.text("file", name);
                    self.text("content", content);
                }
            }
        }
        self.text("destination", &format!("{dest}{}", if *dest_is_dir { "/" } else { "" }));
        if let Some(chown) = chown {
            self.set("--chown", chown);
        }
        if let Some(chmod) = chmod {
            self.set("--chmod", chmod);
        }
        self.set(
            "--unpack",
            match unpack {
                Unpack::No => "none",
                Unpack::Local => "local",
                Unpack::All => "all",
            },
        );
        self.flag("--parents", *parents);
        for exclude in excludes {
            self.set("--exclude", exclude);
        }
    }

    fn git(&mut self, source: &GitSource) {
        let GitSource { url, reference, subdir, keep_git_dir, submodules, checksum: _, mtime, fetch_by_commit: _ } =
            source;
        self.text("instruction", "ADD");
        if *keep_git_dir {
            self.set("--keep-git-dir", "true");
            self.text("repository", &redacted(url));
            self.some("reference", reference.as_deref().unwrap_or_default());
        }
        self.some("subdirectory", subdir.as_deref().unwrap_or_default());
        self.flag("submodules", *submodules);
        self.set(
            "times",
            match mtime {
                GitTime::Checkout => "of the checkout",
                GitTime::Commit => "of the commit",
            },
        );
    }
}

fn file(set: &mut impl FnMut(&'static str, &str), (mode, uid, gid): (u32, u32, u32)) {
    set("mode", &octal(mode));
    set("uid", &uid.to_string());
    set("gid", &gid.to_string());
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

fn from(source: MountSource) -> &'static str {
    match source {
        MountSource::Empty => "nothing",
        MountSource::Context(_) => "a context",
        MountSource::Tree(_) => "a stage or an image",
    }
}

/// Arguments on one line, each of which can be told from its neighbours; those of a shell are what it is given.
fn words(args: &[String]) -> String {
    if let [shell, option, command] = args
        && (shell.as_str(), option.as_str()) == ("/bin/sh", "-c")
        && !command.starts_with('[')
    {
        return command.clone();
    }
    let mut text = String::new();
    for arg in args {
        // Writing to a text cannot fail.
        let _written = write!(text, "{}{arg:?}", if text.is_empty() { "" } else { ", " });
    }
    format!("[{text}]")
}
