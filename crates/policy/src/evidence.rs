//! What a policy's functions verify, beside what the policy is told: the signed bytes and their signatures.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use stave_signature::git::{Actor, Commit, Signed, Tag};
use stave_signature::image::ImageSignature;
use stave_signature::{Kind, kind_of};

/// Opens a file that was fetched, from its beginning.
pub type OpenContent = Arc<dyn Fn() -> io::Result<Box<dyn Read>> + Send + Sync>;

/// A file that was fetched.
#[derive(Clone)]
pub(crate) struct Content(pub(crate) OpenContent);

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Content").finish_non_exhaustive()
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Content {}

/// What was signed of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The commit of a repository.
    pub(crate) commit: Option<Signed>,
    /// The annotated tag that leads to it.
    pub(crate) tag: Option<Signed>,
    /// A file.
    pub(crate) content: Option<Content>,
    /// What was found beside an image.
    pub(crate) image: Option<Vec<ImageSignature>>,
    /// Why what was found beside an image is not told, for people.
    pub(crate) notes: Vec<String>,
}

/// Returns what a policy is told of a commit, with buildx's names.
pub(crate) fn told_commit(commit: &Commit) -> Value {
    let mut told = Map::new();
    told.insert("tree".to_owned(), json!(commit.tree));
    told.insert("parents".to_owned(), json!(commit.parents));
    told.insert("author".to_owned(), told_actor(&commit.author));
    told.insert("committer".to_owned(), told_actor(&commit.committer));
    told.insert("message".to_owned(), json!(commit.message));
    told_signature(&commit.signed, &mut told);
    Value::Object(told)
}

/// Returns what a policy is told of an annotated tag, with buildx's names.
pub(crate) fn told_tag(tag: &Tag) -> Value {
    let mut told = Map::new();
    told.insert("object".to_owned(), json!(tag.object));
    told.insert("type".to_owned(), json!(tag.kind));
    told.insert("tag".to_owned(), json!(tag.tag));
    told.insert("tagger".to_owned(), told_actor(&tag.tagger));
    told.insert("message".to_owned(), json!(tag.message));
    told_signature(&tag.signed, &mut told);
    Value::Object(told)
}

fn told_actor(actor: &Actor) -> Value {
    let mut told = json!({ "name": actor.name, "email": actor.email });
    if let Some(when) = &actor.when {
        told["when"] = json!(when);
    }
    told
}

/// Adds what a signature says of itself. One that cannot be read is there nevertheless, and says nothing.
fn told_signature(signed: &Signed, told: &mut Map<String, Value>) {
    let Some(signature) = &signed.signature else { return };
    let (name, about) = match kind_of(signature) {
        Ok(Kind::OpenPgp { version, key_id: Some(key_id) }) => {
            ("pgpSignature", json!({ "version": version, "keyID": key_id }))
        }
        Ok(Kind::OpenPgp { version, key_id: None }) => ("pgpSignature", json!({ "version": version })),
        Ok(Kind::Ssh { version, public_key }) => ("sshSignature", json!({ "version": version, "pubKey": public_key })),
        Err(_) if signature.starts_with(b"-----BEGIN SSH ") => ("sshSignature", json!({})),
        Err(_) if signature.starts_with(b"-----BEGIN PGP ") => ("pgpSignature", json!({})),
        Err(_) => return,
    };
    told.insert(name.to_owned(), about);
}
