//! The functions that policies in Rego have beside those of the language, with buildx's names.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use regorus::{Engine, Value};
use stave_oci::BlobDigest;
use stave_signature::Verdict;
use stave_signature::git::Signed;
use stave_signature::image::ImageSignature;

use crate::evidence::Content;
use crate::input::Input;
use crate::rego::ReadFile;
use crate::signer;

/// Functions of buildx's policies that are not evaluated, and how many arguments they have.
const UNVERIFIED: &[(&str, u8)] = &[("artifact_attestation", 2), ("github_attestation", 2)];

/// The function that verifies what is in a file.
pub(crate) const VERIFY_FILE: &str = "verify_http_pgp_signature";

/// The function that verifies an image with plain keys.
pub(crate) const VERIFY_IMAGE: &str = "verify_image_signature";

/// The functions that say whether Docker's builder signed an image.
pub(crate) const BUILDERS: &[&str] = &["docker_github_builder", "docker_github_builder_signature", BUILDER_TAG];

const BUILDER_TAG: &str = "docker_github_builder_tag";

/// What functions saw while a policy was evaluated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Sights>>);

#[derive(Debug, Default)]
struct Sights {
    /// The digests to which images are pinned.
    pins: Vec<BlobDigest>,
    /// Why what was asked for is not so.
    notes: Vec<String>,
}

impl Seen {
    fn with<T>(&self, change: impl FnOnce(&mut Sights) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn pins(&self) -> Vec<BlobDigest> {
        self.with(|sights| sights.pins.clone())
    }

    /// Returns why what was asked for is not so, for people.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.with(|sights| sights.notes.clone())
    }

    fn note(&self, note: String) {
        self.with(|sights| {
            if !sights.notes.contains(&note) {
                sights.notes.push(note);
            }
        });
    }
}

/// Adds all functions to an evaluator that will be asked about `input`.
pub(crate) fn add(engine: &mut Engine, read: &ReadFile, input: &Input, seen: &Seen) -> anyhow::Result<()> {
    let files = Arc::clone(read);
    engine.add_extension("load_json".to_owned(), 1, Box::new(move |given| load_json(&files, &given)))?;
    let pins = seen.clone();
    engine.add_extension("pin_image".to_owned(), 2, Box::new(move |given| pin_image(&pins, &given)))?;
    let objects = Objects::of(input, read, seen)?;
    engine.add_extension("verify_git_signature".to_owned(), 2, Box::new(move |given| objects.verify(&given)))?;
    let file = File::of(input, read, seen)?;
    engine.add_extension(VERIFY_FILE.to_owned(), 3, Box::new(move |given| file.verify(&given)))?;
    let image = Image::of(input, read, seen)?;
    engine.add_extension(VERIFY_IMAGE.to_owned(), 2, Box::new(move |given| image.verify(&given)))?;
    for (name, count) in BUILDERS.iter().zip([2, 2, 3]) {
        engine.add_extension((*name).to_owned(), count, Box::new(move |given| by_builder(name, &given)))?;
    }
    for (name, count) in UNVERIFIED {
        let refuse = move |_: Vec<Value>| -> anyhow::Result<Value> {
            bail!("`{name}` is not evaluated: stave does not verify what it asks for")
        };
        engine.add_extension((*name).to_owned(), *count, Box::new(refuse))?;
    }
    Ok(())
}

fn text<'a>(function: &str, given: &'a [Value], at: usize, what: &str) -> anyhow::Result<&'a str> {
    match given.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => bail!("`{function}` needs {what}"),
    }
}

fn load_json(read: &ReadFile, given: &[Value]) -> anyhow::Result<Value> {
    let path = text("load_json", given, 0, "a path")?;
    let bytes = read(path).map_err(|problem| anyhow!("`load_json` cannot read `{path}`: {problem}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| anyhow!("`{path}` is not JSON: {error}"))?;
    Value::from_json_str(text).map_err(|error| anyhow!("`{path}` is not JSON: {error}"))
}

fn pin_image(seen: &Seen, given: &[Value]) -> anyhow::Result<Value> {
    let digest = text("pin_image", given, 1, "an image and a digest")?;
    let pin = digest.parse().map_err(|_| anyhow!("`pin_image` got `{digest}`, expected a digest"))?;
    seen.with(|sights| sights.pins.push(pin));
    Ok(Value::Bool(true))
}

/// The commit and the tag of a repository, as the policy is told them and as they were signed.
#[derive(Clone)]
struct Objects {
    known: Vec<(&'static str, Value, Signed)>,
    read: ReadFile,
    seen: Seen,
}

impl Objects {
    fn of(input: &Input, read: &ReadFile, seen: &Seen) -> anyhow::Result<Self> {
        let (told, evidence) = (input.json(), input.evidence());
        let mut known = Vec::new();
        for (name, signed) in [("commit", &evidence.commit), ("tag", &evidence.tag)] {
            if let Some(signed) = signed {
                known.push((name, Value::from_json_str(&told["git"][name].to_string())?, signed.clone()));
            }
        }
        Ok(Self { known, read: Arc::clone(read), seen: seen.clone() })
    }

    /// `verify_git_signature(OBJECT, KEYS)`
    fn verify(&self, given: &[Value]) -> anyhow::Result<Value> {
        const NAME: &str = "verify_git_signature";
        let path = text(NAME, given, 1, "a commit or a tag, and a file of keys")?;
        let asked = given.first().and_then(|asked| self.known.iter().find(|(_, told, _)| told == asked));
        let Some((kind, _, signed)) = asked else {
            bail!("`{NAME}` got neither `input.git.commit` nor `input.git.tag` of the source that is asked about");
        };
        let keys = (self.read)(path).map_err(|problem| anyhow!("`{NAME}` cannot read `{path}`: {problem}"))?;
        let verdict = match &signed.signature {
            None => Verdict::Not("it is not signed".to_owned()),
            Some(signature) => stave_signature::verify(&signed.payload, signature, &keys)
                .with_context(|| format!("`{NAME}` cannot verify the {kind} with `{path}`"))
                .map_err(|error| anyhow!("{error:#}"))?,
        };
        Ok(answer(verdict, &self.seen, |why| format!("the {kind} is not verified by `{path}`: {why}")))
    }
}

/// A file, as the policy is told it, and what is in it.
#[derive(Clone)]
struct File {
    told: Value,
    content: Option<Content>,
    read: ReadFile,
    seen: Seen,
}

impl File {
    fn of(input: &Input, read: &ReadFile, seen: &Seen) -> anyhow::Result<Self> {
        let told = Value::from_json_str(&input.json()["http"].to_string())?;
        let content = input.evidence().content.clone();
        Ok(Self { told, content, read: Arc::clone(read), seen: seen.clone() })
    }

    /// `verify_http_pgp_signature(FILE, SIGNATURE, KEYS)`
    fn verify(&self, given: &[Value]) -> anyhow::Result<Value> {
        let needs = "a file, its signature, and a file of keys";
        let (signature, keys) = (text(VERIFY_FILE, given, 1, needs)?, text(VERIFY_FILE, given, 2, needs)?);
        let content = match &self.content {
            Some(content) if given.first() == Some(&self.told) => content,
            _ => bail!("`{VERIFY_FILE}` did not get `input.http` of the source that is asked about"),
        };
        let read = |path: &str| {
            (self.read)(path).map_err(|problem| anyhow!("`{VERIFY_FILE}` cannot read `{path}`: {problem}"))
        };
        let open = || (content.0)();
        let verdict = stave_signature::verify_openpgp(&open, &read(signature)?, &read(keys)?)
            .with_context(|| format!("`{VERIFY_FILE}` cannot verify `{signature}` with `{keys}`"))
            .map_err(|error| anyhow!("{error:#}"))?;
        Ok(answer(verdict, &self.seen, |why| format!("the file is not verified by `{signature}` and `{keys}`: {why}")))
    }
}

/// An image, as the policy is told it, and what was found beside it.
#[derive(Clone)]
struct Image {
    told: Value,
    found: Option<Vec<ImageSignature>>,
    read: ReadFile,
    seen: Seen,
}

impl Image {
    fn of(input: &Input, read: &ReadFile, seen: &Seen) -> anyhow::Result<Self> {
        let told = Value::from_json_str(&input.json()["image"].to_string())?;
        let found = input.evidence().image.clone();
        Ok(Self { told, found, read: Arc::clone(read), seen: seen.clone() })
    }

    /// `verify_image_signature(IMAGE, KEYS)`
    fn verify(&self, given: &[Value]) -> anyhow::Result<Value> {
        let path = text(VERIFY_IMAGE, given, 1, "an image, and a file of keys")?;
        let found = match &self.found {
            Some(found) if given.first() == Some(&self.told) => found,
            _ => bail!("`{VERIFY_IMAGE}` did not get `input.image` of the source that is asked about"),
        };
        let keys = (self.read)(path).map_err(|problem| anyhow!("`{VERIFY_IMAGE}` cannot read `{path}`: {problem}"))?;
        let verdict = stave_signature::image::verify_image(found, &keys)
            .with_context(|| format!("`{VERIFY_IMAGE}` cannot verify the image with `{path}`"))
            .map_err(|error| anyhow!("{error:#}"))?;
        Ok(answer(verdict, &self.seen, |why| format!("the image is not verified by `{path}`: {why}")))
    }
}

/// `docker_github_builder(IMAGE, REPOSITORY)`, `..._tag(IMAGE, REPOSITORY, TAG)`, `..._signature(SIGNATURE, REPOSITORY)`:
/// whether Docker's builder signed an image of a repository of GitHub, of a tag, or made one signature.
fn by_builder(name: &str, given: &[Value]) -> anyhow::Result<Value> {
    let repository = text(name, given, 1, "an image or a signature, and a repository as `OWNER/NAME`")?;
    let first = given.first().map(Value::to_json_str).transpose()?.unwrap_or_default();
    let first: serde_json::Value = serde_json::from_str(&first)?;
    if name == "docker_github_builder_signature" {
        return Ok(Value::Bool(signer::is_by_builder(&first, repository)));
    }
    let (Some(has_provenance), Some(signatures)) = (first["hasProvenance"].as_bool(), first["signatures"].as_array())
    else {
        bail!("`{name}` needs an image of which `hasProvenance` and `signatures` are told");
    };
    let any = signatures.iter().any(|one| signer::is_by_builder(one, repository));
    if name != BUILDER_TAG {
        return Ok(Value::Bool(has_provenance && any));
    }
    let tag = format!("refs/tags/{}", text(name, given, 2, "an image, a repository and a tag")?);
    let of_tag = |one: &&serde_json::Value| one["signer"]["sourceRepositoryRef"] == tag.as_str();
    let any = signatures.iter().filter(of_tag).any(|one| signer::is_by_builder(one, repository));
    Ok(Value::Bool(has_provenance && any))
}

fn answer(verdict: Verdict, seen: &Seen, note: impl FnOnce(&str) -> String) -> Value {
    match verdict {
        Verdict::Verified => Value::Bool(true),
        Verdict::Not(why) => {
            seen.note(note(&why));
            Value::Bool(false)
        }
    }
}
