//! Where images are exchanged: a bench, a registry, an image of everything, and the peers with places of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::content;
use super::{Peer, Problem};
use crate::bench::Bench;
use crate::dockerd::Dockerd;
use crate::fixtures::with_busybox;
use crate::image::Image;
use crate::needs;
use crate::output::Output;
use crate::registry::LoopbackRegistry;

/// A place for the cases of one peer.
#[derive(Debug)]
pub struct Yard {
    bench: Bench,
    registry: LoopbackRegistry,
    stave: PathBuf,
    peer: Peer,
    program: PathBuf,
    dockerd: Option<Dockerd>,
    listing: OnceLock<String>,
}

/// What every image of the yard begins with.
const DOCKERFILE: &str = "FROM everything\nADD all.tar /added/\nCOPY --chmod=755 look /bin/look\n\
    RUN rm /etc/group && mkdir -p /deep/er && chmod 2775 /deep\n\
    LABEL of=tests\nENV GREETING=hello\nWORKDIR /data\nUSER 0:0\nCMD [\"/bin/look\"]\n";

impl Yard {
    /// A yard for `stave` and a peer, or nothing after saying what this machine lacks.
    #[must_use]
    pub fn new(stave: PathBuf, peer: Peer) -> Option<Self> {
        needs::root()?;
        let program = needs::program(peer.program())?;
        // Layouts in directories are copied with it.
        needs::program("skopeo")?;
        let (mut bench, registry) = with_busybox()?;
        let mut base = Image::of_busybox()?;
        base.layer_tar(&content::everything());
        registry.put("library/everything", "latest", &base);
        // Later than every time in the image, so that all times are exchanged as they are.
        bench.set("SOURCE_DATE_EPOCH", "4102444801");
        bench.file("all.tar", content::everything()).program("look", content::LOOK).file("Dockerfile", DOCKERFILE);
        let dockerd = match peer {
            Peer::Docker => Some(Dockerd::start(&bench, Some(&registry.host()))?),
            Peer::Skopeo | Peer::Umoci | Peer::Buildah | Peer::Podman => None,
        };
        let yard = Self { bench, registry, stave, peer, program, dockerd, listing: OnceLock::new() };
        yard.stave(&["build", "-q", "-t", "made:1", "."]).expect("the image is built");
        Some(yard)
    }

    /// The version that the peer says it has; for Docker the daemon, which does the work.
    #[must_use]
    pub fn version(&self) -> String {
        let daemon = self.dockerd.as_ref().and_then(|_| needs::find_program("dockerd"));
        let said = Command::new(daemon.as_ref().unwrap_or(&self.program)).arg("--version").output();
        let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
        let number = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        format!("{} {}", self.peer.program(), number.unwrap_or("of unknown version").trim_matches(','))
    }

    /// The working directory.
    pub(super) fn work(&self) -> PathBuf {
        self.bench.work()
    }

    /// A name in the yard's registry.
    pub(super) fn remote(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// Writes a file of the working directory.
    pub(super) fn file(&self, path: &str, content: &str) {
        self.bench.file(path, content);
    }

    /// Runs stave. Returns what it printed, without the end of the last line.
    pub(super) fn stave(&self, args: &[&str]) -> Result<String, Problem> {
        let mut command = self.bench.other(&self.stave);
        command.args(args);
        done(&self.bench.finish(command))
    }

    /// The digest of a manifest in the yard's registry, without `sha256:`.
    pub(super) fn digest(&self, repository: &str, tag: &str) -> Result<String, Problem> {
        let bytes = self.registry.manifest(repository, tag).ok_or(format!("nothing is at {repository}:{tag}"))?;
        Ok(stave_oci::BlobDigest::of(&bytes).hex())
    }

    /// Makes the registry one of before there were lists of referrers.
    pub(super) fn without_referrers(&self) {
        self.registry.forget_referrers();
    }

    /// Runs the peer with storage of its own.
    pub(super) fn peer(&self, args: &[&str]) -> Result<String, Problem> {
        done(&self.peer_output(args))
    }

    /// Runs the peer. Returns all that it said.
    pub(super) fn peer_says(&self, args: &[&str]) -> Result<String, Problem> {
        let output = self.peer_output(args);
        done(&output).map(|said| said + &output.stderr)
    }

    fn peer_output(&self, args: &[&str]) -> Output {
        if let Some(dockerd) = &self.dockerd {
            return dockerd.docker(&self.bench, args);
        }
        let mut command = self.bench.other(&self.program);
        match self.peer {
            Peer::Buildah | Peer::Podman => {
                let places = ["--root", "storage", "--runroot", "storage-run", "--storage-driver", "vfs"];
                command.args(places);
                if self.peer == Peer::Podman {
                    command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
                }
            }
            Peer::Skopeo | Peer::Umoci | Peer::Docker => {}
        }
        command.args(args);
        self.bench.finish(command)
    }

    /// Runs stave. Returns all that it said.
    pub(super) fn stave_says(&self, args: &[&str]) -> Result<String, Problem> {
        let mut command = self.bench.other(&self.stave);
        command.args(args);
        let output = self.bench.finish(command);
        done(&output).map(|said| said + &output.stderr)
    }

    /// Runs skopeo, whoever the peer is.
    pub(super) fn skopeo(&self, args: &[&str]) -> Result<String, Problem> {
        let program = needs::find_program("skopeo").ok_or("skopeo is not installed")?;
        let mut command = self.bench.other(&program);
        command.arg("--insecure-policy").args(args);
        done(&self.bench.finish(command))
    }

    /// Runs the container storage's image with no help of a runtime, and returns what it prints.
    pub(super) fn buildah_run(&self, image: &str) -> Result<String, Problem> {
        let container = self.peer(&["from", "--pull-never", image]).or_else(|_| self.peer(&["from", image]))?;
        let ran = self.peer(&["run", "--isolation", "chroot", &container, "--", "/bin/look"]);
        self.peer(&["rm", &container])?;
        ran
    }

    /// The id of an image of the store.
    pub(super) fn id(&self, image: &str) -> Result<String, Problem> {
        self.stave(&["inspect", "--format", "{{.Id}}", image])
    }

    /// What a program in stave's own image sees of its files.
    pub(super) fn listing(&self) -> Result<String, Problem> {
        if let Some(known) = self.listing.get() {
            return Ok(known.clone());
        }
        let seen = self.stave(&["run", "--rm", "made:1"])?;
        if !seen.contains("large-owner") {
            return Err(format!("the image lacks its files:\n{seen}"));
        }
        Ok(self.listing.get_or_init(|| seen).clone())
    }

    /// Compares what the peer's container saw with what ours sees.
    pub(super) fn same_files(&self, seen: &str) -> Result<(), Problem> {
        let expected = self.listing()?;
        // Go's `Chtimes` as these programs call it knows no time before 1970.
        let expected = match self.peer {
            Peer::Buildah | Peer::Docker => expected.replace(" -86400", " 0"),
            Peer::Skopeo | Peer::Umoci | Peer::Podman => expected,
        };
        same("files", &expected, seen)
    }

    /// Compares an image of the store with the one that the yard began with, in all that the format says of it.
    pub(super) fn same_image(&self, image: &str) -> Result<(), Problem> {
        same("image id", &self.id("made:1")?, &self.id(image)?)?;
        same("files", &self.listing()?, &self.stave(&["run", "--rm", image])?)
    }
}

/// Returns the path of a file of a directory as text.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Fails unless both are equal.
pub(super) fn same(what: &str, expected: &str, actual: &str) -> Result<(), Problem> {
    if expected == actual {
        return Ok(());
    }
    let differing = expected.lines().zip(actual.lines()).find(|(ours, theirs)| ours != theirs);
    let (ours, theirs) = differing.unwrap_or((expected, actual));
    Err(format!("{what}: expected `{ours}`, got `{theirs}`"))
}

fn done(output: &Output) -> Result<String, Problem> {
    if output.code == 0 {
        return Ok(output.line());
    }
    let words: Vec<&str> = output.command.split("\" \"").skip(1).collect();
    Err(format!("`{}` ended with {}: {}", words.join(" "), output.code, output.stderr.trim().replace('\n', " / ")))
}
