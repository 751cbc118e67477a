//! From a reference to a commit: what the server lists is read, and nothing of it is ever an argument but a digest.

use stave_graph::GitSource;
use stave_graph::remote::is_whole_commit;

use super::{Git, GitError};

/// What the whole names of tags begin with.
const TAGS: &str = "refs/tags/";

/// A commit that a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// All digits of the commit.
    pub commit: String,
    /// The whole name of the reference, if it is one that the server lists.
    pub(crate) name: Option<String>,
}

/// What a listing says of one name.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// What it points to: a commit or a tag.
    pub(crate) object: String,
    /// What the tag points to.
    pub(crate) peeled: Option<String>,
}

impl Git {
    /// Returns the commit that `source` names at this moment, after checking it against the checksum.
    ///
    /// # Errors
    /// If the server cannot be asked, has no such reference, or has another commit.
    pub fn resolve(&self, source: &GitSource) -> Result<Resolved, GitError> {
        if let (true, Some(commit)) = (source.fetch_by_commit, &source.checksum) {
            return Ok(Resolved { commit: commit.clone(), name: None });
        }
        let wanted = source.reference.as_deref();
        if let Some(commit) = wanted.filter(|wanted| is_whole_commit(wanted)) {
            let commit = commit.to_ascii_lowercase();
            self.check(source, &[&commit])?;
            return Ok(Resolved { commit, name: None });
        }
        let Listed { name, object, peeled } = self.listed_now(source)?;
        let commit = peeled.unwrap_or_else(|| object.clone());
        self.check(source, &[&commit, &object])?;
        Ok(Resolved { commit, name: Some(name) })
    }

    /// Returns the annotated tag that `source` names, if it names one, as the server lists it now. A branch is none,
    /// wherever it is by now; nor is a name that is gone, if `source` is pinned to a commit and does not say `refs/tags/`.
    ///
    /// # Errors
    /// If the server cannot be asked or does not have the name, or it is that of a tag that leads to another commit than
    /// `resolved` by now.
    pub(crate) fn tag_of(&self, source: &GitSource, resolved: &Resolved) -> Result<Option<Listed>, GitError> {
        let wanted = source.reference.as_deref();
        if wanted.is_none_or(|wanted| wanted == "HEAD" || is_whole_commit(wanted)) {
            return Ok(None);
        }
        let is_pinned = source.fetch_by_commit && source.checksum.is_some();
        let listed = match self.listed_now(source) {
            Err(GitError::NoReference { reference, .. }) if is_pinned && !reference.starts_with(TAGS) => {
                return Ok(None);
            }
            listed => listed?,
        };
        if !listed.name.starts_with(TAGS) && listed.peeled.is_none() {
            return Ok(None);
        }
        let now = listed.peeled.as_ref().unwrap_or(&listed.object);
        if *now != resolved.commit {
            return Err(GitError::Moved {
                url: self.shown(),
                reference: wanted.unwrap_or_default().to_owned(),
                expected: resolved.commit.clone(),
                actual: now.clone(),
            });
        }
        Ok(Some(listed).filter(|listed| listed.peeled.is_some()))
    }

    /// Returns what the server lists under the name in `source`.
    fn listed_now(&self, source: &GitSource) -> Result<Listed, GitError> {
        let wanted = source.reference.as_deref();
        let names = names_of(wanted);
        let patterns: Vec<String> = names.iter().flat_map(|name| [name.clone(), format!("{name}^{{}}")]).collect();
        let address = self.address();
        let args = ["ls-remote", "-q", "--", &address].into_iter().chain(patterns.iter().map(String::as_str));
        let args: Vec<_> = args.map(AsRef::as_ref).collect();
        let listing = self.run("list the references of", self.scratch(), &args)?;
        let listed = listed(&listing, &names).ok_or_else(|| GitError::Listing { url: self.shown() })?;
        listed.ok_or_else(|| {
            let reference = wanted.unwrap_or("HEAD").to_owned();
            GitError::NoReference { url: self.shown(), reference }
        })
    }

    /// Checks that the checksum, if there is one, is the beginning of one of `names`: a commit, or the tag that names it.
    fn check(&self, source: &GitSource, names: &[&str]) -> Result<(), GitError> {
        match &source.checksum {
            Some(expected) if !names.iter().any(|name| name.starts_with(expected.as_str())) => {
                Err(GitError::Checksum {
                    url: self.shown(),
                    reference: source.reference.clone().unwrap_or_else(|| "HEAD".to_owned()),
                    expected: expected.clone(),
                    actual: names.first().copied().unwrap_or_default().to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the whole names that a reference may mean, the first that exists being meant.
fn names_of(wanted: Option<&str>) -> Vec<String> {
    match wanted {
        None | Some("HEAD") => vec!["HEAD".to_owned()],
        Some(whole) if whole.starts_with("refs/") => vec![whole.to_owned()],
        Some(short) => ["refs/heads/", TAGS, "refs/"].map(|start| format!("{start}{short}")).into(),
    }
}

/// Returns what `listing` says of the first of `names` that it has; nothing if it is no listing.
#[allow(clippy::option_option, reason = "no listing and none of the names in it are two things")]
fn listed(listing: &[u8], names: &[String]) -> Option<Option<Listed>> {
    let text = std::str::from_utf8(listing).ok()?;
    let lines = text.lines().map(|line| line.split_once('\t').filter(|(object, _)| is_whole_commit(object)));
    let lines: Vec<(&str, &str)> = lines.collect::<Option<_>>()?;
    let find = |wanted: &str| {
        let found = lines.iter().find(|(_, name)| *name == wanted);
        found.map(|(object, _)| object.to_ascii_lowercase())
    };
    Some(names.iter().find_map(|name| {
        Some(Listed { name: name.clone(), object: find(name)?, peeled: find(&format!("{name}^{{}}")) })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn found(listing: &str, wanted: &str) -> Option<(String, String, Option<String>)> {
        let listed = listed(listing.as_bytes(), &names_of(Some(wanted))).expect("it is a listing");
        listed.map(|listed| (listed.name, listed.object, listed.peeled))
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_a_tag_is_peeled() {
        let listing = format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n{B}\trefs/heads/other/v1\n");
        assert_eq!(found(&listing, "v1"), Some(("refs/tags/v1".into(), A.into(), Some(B.into()))));
        let listing = format!("{listing}{B}\trefs/heads/v1\n");
        assert_eq!(found(&listing, "v1"), Some(("refs/heads/v1".into(), B.into(), None)));
        assert_eq!(found(&format!("{A}\trefs/pull/1/head\n"), "pull/1/head").map(|found| found.1), Some(A.into()));
        assert_eq!(found(&listing, "v2"), None);
    }

    /// GHSA-hw3h-2gp9-cxpv
    #[test]
    fn a_name_that_the_server_makes_up_is_not_used() {
        let listing = format!("{A}\trefs/heads/--upload-pack=/tmp/x\n{B}\tHEAD\n");
        assert_eq!(found(&listing, "HEAD"), Some(("HEAD".into(), B.into(), None)));
        assert_eq!(found(&listing, "main"), None);
        assert!(listed(b"ref: refs/heads/x\tHEAD\n", &names_of(None)).is_none());
        assert!(listed(b"--upload-pack=x\tHEAD\n", &names_of(None)).is_none());
        assert!(listed(b"\xff", &names_of(None)).is_none());
    }
}
