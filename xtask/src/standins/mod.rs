//! Turns Debian packages into stand-ins for the story's base images, served by a real registry on loopback.
//!
//! Public registries are not reachable everywhere, and tests must not depend on them. A stand-in is no copy: it has
//! the name, the configuration's shape and the tools that the story needs, and labels that say what it is. On a
//! machine that reaches Docker Hub the same commands work with the real images.
//!
//! What is made is kept below `target/standins`, under the digest of its recipe, so that it is made once.

mod alpine;
mod arm64;
mod golang;
mod layout;
mod registry;

use crate::failure::{At, Failure, Result};
use crate::place::Place;
use crate::{packages, run};
use registry::Registry;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Raise when images are made of the root file systems in another way.
const LAYOUT_VERSION: &str = "2";

/// The stand-ins, served as long as this value lives.
pub(crate) struct StandIns {
    /// Holds `registries.conf` and the root file systems `golang.tar`, `alpine.tar`, `busybox.tar`, and the
    /// programs `busybox`, `busybox-arm64`.
    pub(crate) dir: PathBuf,
    /// The registry that serves them.
    pub(crate) registry: Registry,
}

/// A root file system and how it is named and configured as an image.
struct Recipe {
    /// Repository and tag.
    name: &'static str,
    /// File name of the root file system's tar.
    tar: &'static str,
    /// Changes whenever anything of what is made changes.
    key: String,
    config: fn() -> stave_oci::RunConfig,
    make: fn(&Path, &Path) -> Result,
    /// The manifest format that the real image has.
    format: &'static str,
    /// For which processor it is, if not for this machine's.
    architecture: Option<&'static str>,
}

/// Makes what is missing and serves everything.
pub(crate) fn serve(place: &Place) -> Result<StandIns> {
    packages::ensure(packages::STANDINS)?;
    let dir = place.dir("standins")?;
    let lock = File::create(dir.join("lock")).at("create", &dir)?;
    // Two commands at once: the second one waits for what the first one makes.
    lock.lock().at("lock", &dir)?;
    let recipes = [golang::recipe(), alpine::recipe(), alpine::busybox_recipe(), arm64::recipe()];
    let keys = recipes.iter().map(|recipe| recipe.key.as_str());
    let key: String = [LAYOUT_VERSION].into_iter().chain(keys).collect();
    let set = dir.join(format!("set-{}", short_digest(&key)));
    let complete = set.join("complete").is_file();
    fs::create_dir_all(&set).at("create", &set)?;
    let registry = Registry::start(&set)?;
    if !complete {
        alpine::fetch_packages(&set)?;
        arm64::fetch(&dir, &set)?;
        for recipe in &recipes {
            recipe.publish(&dir, &set, &registry)?;
        }
        File::create(set.join("complete")).at("create", &set)?;
    }
    registry.write_registries_conf(&set.join("registries.conf"))?;
    Ok(StandIns { dir: set, registry })
}

impl Recipe {
    /// Makes the root file system, unless it is there, and pushes the image.
    fn publish(&self, shared: &Path, set: &Path, registry: &Registry) -> Result {
        let kept = shared.join(format!("{}-{}.tar", self.tar.trim_end_matches(".tar"), short_digest(&self.key)));
        if !kept.is_file() {
            println!("making the stand-in for {} from Debian packages", self.name);
            let partial = shared.join(format!("partial-{}", self.tar));
            (self.make)(set, &partial)?;
            fs::rename(&partial, &kept).at("rename", &partial)?;
        }
        let tar = set.join(self.tar);
        if !tar.is_file() {
            fs::hard_link(&kept, &tar).at("link", &kept)?;
        }
        let temporary = tempfile::tempdir_in(set).at("create", set)?;
        layout::write(&tar, ((self.config)(), self.architecture), self.name, temporary.path())?;
        registry.push(temporary.path(), self.name, self.format)
    }
}

/// The first digits of the digest of a text: names a file after a recipe.
fn short_digest(text: &str) -> String {
    stave_oci::BlobDigest::of(text.as_bytes()).hex()[..16].to_owned()
}

/// What every stand-in says of itself.
fn label(config: &mut stave_oci::RunConfig, of: &str) {
    let text = format!("A stand-in for {of} made from Debian packages for tests. Not the real image.");
    config.labels.insert("org.opencontainers.image.title".to_owned(), format!("stand-in for {of}"));
    config.labels.insert("org.opencontainers.image.description".to_owned(), text);
}

/// The command `cargo xtask standins`: makes and serves them until it is interrupted.
pub(crate) fn command(place: &Place) -> Result {
    let served = serve(place)?;
    println!("serving {} on {}", served.dir.display(), served.registry.address());
    println!("export CONTAINERS_REGISTRIES_CONF={}", served.dir.join("registries.conf").display());
    println!("export STAVE_STANDINS={}", served.dir.display());
    println!("Ctrl-C ends the registry");
    run::wait_for_interrupt()
}

/// Where the machine's own apt gets packages from, in the form that `mmdebstrap` takes.
fn apt_sources() -> Result<Vec<PathBuf>> {
    let list = Path::new("/etc/apt/sources.list");
    let dir = Path::new("/etc/apt/sources.list.d");
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "list" || extension == "sources"))
        .chain([list.to_owned()])
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("deb")))
        .collect();
    found.sort();
    if found.is_empty() { Err(Failure::new("apt has no sources on this machine")) } else { Ok(found) }
}
