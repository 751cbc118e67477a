//! A case of the corpus: a directory with a Dockerfile, its context, and what `case.json` says about both.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a case that are about it and not in its context.
pub(super) const ABOUT: [&str; 3] = ["case.json", "expected.json", "prepare.sh"];

/// A builder that stave is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The `BuildKit` inside dockerd.
    BuildKit,
    /// Buildah.
    Buildah,
}

/// A case, read.
#[derive(Debug, Clone)]
pub struct Case {
    /// The directory's name.
    pub name: String,
    /// Where it is.
    pub dir: PathBuf,
    /// What `case.json` says.
    pub about: About,
}

/// What `case.json` says. `{dir}` in an argument is where the case was laid out, `{http}` the URL of its directory
/// `http`, `{files}` the URL of all of them, `{registry}` the registry that serves the base.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct About {
    /// One sentence.
    #[serde(rename = "about")]
    pub sentence: String,
    /// Rows of features and numbers of cases: `A129`, `T94`.
    pub covers: Vec<String>,
    /// The context below the case, where it is not the case itself; `-` for standard input.
    pub context: Option<String>,
    /// `--file`, as it is given.
    pub file: Option<String>,
    /// The file that is the standard input.
    pub stdin: Option<String>,
    /// Arguments for every builder.
    pub args: Vec<String>,
    /// Arguments that only stave and newer peers have.
    pub stave_args: Vec<String>,
    /// The environment of every builder.
    pub env: BTreeMap<String, String>,
    /// The build fails, and stave says this: each line is a part of one of its lines, in this order.
    pub fails: Option<String>,
    /// Stave says this although the build succeeds.
    pub warns: Vec<String>,
    /// Why stave does not yet do what is expected. The case is then expected to go wrong.
    pub known_bug: Option<String>,
    /// Peers that lack the feature, by name, and why.
    pub without: BTreeMap<String, String>,
    /// Differences from a peer, by a part of their text, and the reason.
    pub differs: BTreeMap<String, BTreeMap<String, String>>,
    /// What the reference says has to come out.
    pub expect: Expect,
}

/// What the reference says has to come out, written by hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Expect {
    /// How the line of a path begins; `null` for a path that is not there.
    pub files: BTreeMap<String, Option<String>>,
    /// Directories below which nothing is but what `files` lists.
    pub all_below: Vec<String>,
    /// Fields of the image's configuration.
    pub config: BTreeMap<String, Value>,
    /// The texts of the history without those of the base.
    pub history: Vec<String>,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::BuildKit, Self::Buildah];

    /// The name in `case.json`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::BuildKit => "buildkit",
            Self::Buildah => "buildah",
        }
    }
}

impl Case {
    /// All cases below `root`, by name.
    #[must_use]
    pub fn all(root: &Path) -> Vec<Self> {
        let listed = fs::read_dir(root).expect("the folder of cases");
        let dirs = listed.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
        let mut cases: Vec<Self> = dirs.map(|dir| Self::read(&dir)).collect();
        cases.sort_by(|left, right| left.name.cmp(&right.name));
        cases
    }

    fn read(dir: &Path) -> Self {
        let name = dir.file_name().expect("a listed directory has a name").to_string_lossy().into_owned();
        let path = dir.join("case.json");
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let about = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name, dir: dir.to_owned(), about }
    }

    /// Why `peer` is not asked, if it is not.
    #[must_use]
    pub fn without(&self, peer: Peer) -> Option<&str> {
        self.about.without.get(peer.key()).map(String::as_str)
    }

    /// The recorded reason for a difference from `peer`.
    #[must_use]
    pub fn reason(&self, peer: Peer, difference: &str) -> Option<&str> {
        let known = self.about.differs.get(peer.key())?;
        known.iter().find(|(part, _)| difference.contains(part.as_str())).map(|(_, reason)| reason.as_str())
    }

    /// Whether the reference's own words are in `case.json`, so that no peer has to confirm the result.
    #[must_use]
    pub fn has_expectations(&self) -> bool {
        let expect = &self.about.expect;
        !expect.files.is_empty() || !expect.config.is_empty() || !expect.history.is_empty()
    }
}
