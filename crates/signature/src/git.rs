//! Commits and annotated tags: what they say, what of them was signed, and the signature.
//!
//! Reference: git, `Documentation/gitformat-signature.adoc`.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::limits::{GIT_OBJECT_BYTES_MAX, PARENTS_MAX};

/// Headers that hold a signature, one for each kind of digest that a repository may have. What is signed has none of them.
const SIGNATURE_HEADERS: [&[u8]; 2] = [b"gpgsig", b"gpgsig-sha256"];

/// Lines with which the signature of a tag begins.
const SIGNATURE_LINES: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
];

/// Why bytes are no commit or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} is not what Git writes: {problem}")]
pub struct ObjectError {
    /// `commit` or `tag`.
    kind: &'static str,
    /// What is wrong.
    problem: String,
}

/// Somebody who made a commit or a tag, as it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
    /// When, in RFC 3339; nothing if it is no time.
    pub when: Option<String>,
}

/// What was signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The signature in armor; nothing if there is none.
    pub signature: Option<Vec<u8>>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// The digest of its files.
    pub tree: String,
    /// The commits before it.
    pub parents: Vec<String>,
    /// Who made the change.
    pub author: Actor,
    /// Who made the commit.
    pub committer: Actor,
    /// What it says.
    pub message: String,
    /// What of it was signed.
    pub signed: Signed,
}

/// An annotated tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tag {
    /// The digest of what it names.
    pub object: String,
    /// The kind of that: `commit`, `tag`.
    pub kind: String,
    /// Its name, as who made it wrote it.
    pub tag: String,
    /// Who made it.
    pub tagger: Actor,
    /// What it says, without the signature.
    pub message: String,
    /// What of it was signed.
    pub signed: Signed,
}

/// An object in parts.
struct Parts<'a> {
    /// Names and values, the lines of a value joined as they were.
    headers: Vec<(&'a [u8], Vec<u8>)>,
    /// The headers without signatures, as they were.
    unsigned: Vec<u8>,
    /// What follows the empty line.
    body: &'a [u8],
}

impl Commit {
    /// Reads what `git cat-file commit` prints.
    ///
    /// # Errors
    /// If it is too large, has no tree, or more than one signature.
    pub fn parse(raw: &[u8]) -> Result<Self, ObjectError> {
        let wrong = |problem: &str| ObjectError { kind: "commit", problem: problem.to_owned() };
        let parts = Parts::of(raw, "commit")?;
        let parents: Vec<String> = parts.all(b"parent").map(text).collect();
        if parents.len() > PARENTS_MAX {
            return Err(wrong("it has too many parents"));
        }
        let mut signatures = parts.headers.iter().filter(|(name, _)| SIGNATURE_HEADERS.contains(name));
        let signature = signatures.next().map(|(_, value)| value.clone());
        if signatures.next().is_some() {
            return Err(wrong("it has several signatures"));
        }
        let mut payload = parts.unsigned.clone();
        payload.push(b'\n');
        payload.extend_from_slice(parts.body);
        Ok(Self {
            tree: parts.one(b"tree").map(text).ok_or_else(|| wrong("it has no `tree`"))?,
            parents,
            author: parts.one(b"author").map(Actor::of).unwrap_or_default(),
            committer: parts.one(b"committer").map(Actor::of).unwrap_or_default(),
            message: text(parts.body),
            signed: Signed { payload, signature },
        })
    }
}

impl Tag {
    /// Reads what `git cat-file tag` prints.
    ///
    /// # Errors
    /// If it is too large, or does not say what it names.
    pub fn parse(raw: &[u8]) -> Result<Self, ObjectError> {
        let wrong = |problem: &str| ObjectError { kind: "tag", problem: problem.to_owned() };
        let parts = Parts::of(raw, "tag")?;
        let (message, signature) = signature_at_the_end(parts.body);
        let mut payload = parts.unsigned.clone();
        payload.push(b'\n');
        payload.extend_from_slice(message);
        Ok(Self {
            object: parts.one(b"object").map(text).ok_or_else(|| wrong("it has no `object`"))?,
            kind: parts.one(b"type").map(text).ok_or_else(|| wrong("it has no `type`"))?,
            tag: parts.one(b"tag").map(text).ok_or_else(|| wrong("it has no `tag`"))?,
            tagger: parts.one(b"tagger").map(Actor::of).unwrap_or_default(),
            message: text(message),
            signed: Signed { payload, signature: signature.map(<[u8]>::to_vec) },
        })
    }
}

impl<'a> Parts<'a> {
    fn of(raw: &'a [u8], kind: &'static str) -> Result<Self, ObjectError> {
        let wrong = |problem: String| ObjectError { kind, problem };
        if raw.len() > GIT_OBJECT_BYTES_MAX {
            return Err(wrong(format!("it has {} bytes, and {GIT_OBJECT_BYTES_MAX} are the most", raw.len())));
        }
        let (mut headers, mut unsigned) = (Vec::<(&[u8], Vec<u8>)>::new(), Vec::new());
        let mut rest = raw;
        let mut is_signature = false;
        loop {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Err(wrong("its headers have no end".to_owned()));
            };
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            match line {
                [] => return Ok(Self { headers, unsigned, body: rest }),
                [b' ', continued @ ..] => {
                    let (_, value) = headers.last_mut().ok_or_else(|| wrong("it begins with a blank".to_owned()))?;
                    value.push(b'\n');
                    value.extend_from_slice(continued);
                }
                line => {
                    let blank = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
                    let (name, value) = (&line[..blank], line.get(blank + 1..).unwrap_or_default());
                    is_signature = SIGNATURE_HEADERS.contains(&name);
                    headers.push((name, value.to_vec()));
                }
            }
            if !is_signature {
                unsigned.extend_from_slice(line);
                unsigned.push(b'\n');
            }
        }
    }

    fn all(&self, wanted: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_slice())
    }

    fn one(&self, wanted: &[u8]) -> Option<&[u8]> {
        self.all(wanted).next()
    }
}

/// Splits the text of a tag before the last line with which a signature begins.
fn signature_at_the_end(body: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (mut start, mut found) = (0, None);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if SIGNATURE_LINES.iter().any(|begin| line.starts_with(begin)) {
            found = Some(start);
        }
        start += line.len();
    }
    match found {
        Some(at) => (&body[..at], Some(&body[at..])),
        None => (body, None),
    }
}

impl Actor {
    /// Reads `Name <address> SECONDS +ZONE`.
    fn of(line: &[u8]) -> Self {
        let line = text(line);
        let Some((name, rest)) = line.split_once('<') else {
            return Self { name: line.trim().to_owned(), ..Self::default() };
        };
        let (email, time) = rest.rsplit_once('>').unwrap_or((rest, ""));
        Self { name: name.trim().to_owned(), email: email.trim().to_owned(), when: when(time) }
    }
}

/// Returns the time of `SECONDS +HHMM` in RFC 3339.
fn when(text: &str) -> Option<String> {
    let (seconds, zone) = text.trim().split_once(' ')?;
    let time = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number: i32 = digits.parse().ok().filter(|number| (0..10_000).contains(number))?;
    let offset = Offset::from_seconds(sign * (number / 100 * 3600 + number % 100 * 60)).ok()?;
    Some(time.display_with_offset(offset).to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
