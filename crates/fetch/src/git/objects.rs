//! What a commit and its tag say themselves: the objects, without the files.

use std::path::Path;

use stave_graph::GitSource;

use super::resolve::Listed;
use super::{Git, GitError, Resolved};

/// A commit as the repository has it, and the annotated tag that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects {
    /// What `git cat-file commit` prints.
    pub commit: Vec<u8>,
    /// The tag, if the reference names one that is annotated.
    pub tag: Option<TagObject>,
}

/// An annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagObject {
    /// All digits of its digest.
    pub digest: String,
    /// What `git cat-file tag` prints.
    pub bytes: Vec<u8>,
}

impl Git {
    /// Fetches the commit `resolved` and the tag that `source` names into `into`, an empty directory, and returns them.
    /// Nothing of them is verified but that they have the digests that they are asked for by, and that the tag leads to
    /// the commit.
    ///
    /// The files come with them: a repository without them (`--filter`) is one for which `git` asks its server again
    /// whenever something is missing, without an end if the server wants it so.
    ///
    /// # Errors
    /// If they cannot be fetched, or the reference names another commit by now.
    pub fn objects(&self, source: &GitSource, resolved: &Resolved, into: &Path) -> Result<Objects, GitError> {
        let tag = self.tag_of(source, resolved)?;
        self.prepare(into, &resolved.commit)?;
        let name = tag.as_ref().map(|tag| tag.name.clone()).or_else(|| resolved.name.clone());
        self.fetch_commit(into, &Resolved { commit: resolved.commit.clone(), name })?;
        let commit = self.object(into, "commit", &resolved.commit)?;
        let tag = tag.map(|tag| self.tag(&tag, resolved, into)).transpose()?;
        Ok(Objects { commit, tag })
    }

    fn tag(&self, listed: &Listed, resolved: &Resolved, into: &Path) -> Result<TagObject, GitError> {
        let digest = &listed.object;
        let mut fetched = Ok(());
        // Not every server has a part of a history to give.
        for how in [["--depth=1"].as_slice(), &[]] {
            if self.git("look at", into, &["cat-file", "-e", digest]).is_ok() {
                break;
            }
            let args = [&["fetch", "-q", "--no-tags"], how, &["--", "origin", &listed.name]].concat();
            fetched = match self.git("fetch", into, &args) {
                Err(error @ GitError::Failed { .. }) => Err(error),
                Err(error) => return Err(error),
                Ok(_) => Ok(()),
            };
        }
        fetched?;
        let led = self.git("look at", into, &["rev-parse", "--verify", "-q", &format!("{digest}^{{commit}}"), "--"])?;
        if led.trim_ascii() != resolved.commit.as_bytes() {
            let (tag, commit) = (digest.clone(), resolved.commit.clone());
            return Err(GitError::OtherTag { url: self.shown(), tag, commit });
        }
        Ok(TagObject { digest: digest.clone(), bytes: self.object(into, "tag", digest)? })
    }

    /// Returns the bytes of an object; nothing may stand in its place.
    fn object(&self, into: &Path, kind: &str, digest: &str) -> Result<Vec<u8>, GitError> {
        self.git("look at", into, &["--no-replace-objects", "cat-file", kind, digest])
    }
}
