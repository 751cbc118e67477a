//! Users and groups of an image: the text of `USER` and `--chown`, and the files `/etc/passwd` and `/etc/group`.
//!
//! Turns a text and the bytes of the two files into numbers. It reads no file itself.
//!
//! Reference: `passwd(5)`, `group(5)`; the Dockerfile reference, `USER` and `COPY --chown`.

use serde::{Deserialize, Serialize};

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes. A longer one is an error, never cut.
pub const USER_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// A user or group text that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum UserError {
    /// Not of the form `user` or `user:group`.
    #[error("`{text}` is not of the form `user` or `user:group`")]
    Grammar {
        /// The text as given.
        text: String,
    },
    /// A number that is no id.
    #[error("`{text}` is not an id, expected 0 to 4294967294")]
    Range {
        /// The number as given.
        text: String,
    },
    /// The image has no such user.
    #[error("no user `{name}` in `/etc/passwd` of the image")]
    NoUser {
        /// The name.
        name: String,
    },
    /// The image has no such group.
    #[error("no group `{name}` in `/etc/group` of the image")]
    NoGroup {
        /// The name.
        name: String,
    },
}

/// One half of a user text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameOrId {
    /// Digits only: never looked up as a name.
    Id(u32),
    /// Anything else.
    Name(String),
}

impl NameOrId {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Name(name) if name.is_empty())
    }
}

/// A parsed `USER` or `--chown` text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserText {
    /// The part before `:`.
    pub user: NameOrId,
    /// The part after `:`.
    pub group: Option<NameOrId>,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one first, without repetition.
    pub groups: Vec<u32>,
    /// Home directory according to `/etc/passwd`.
    pub home: Option<String>,
}

/// The largest id: the next one means "no id" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;

fn name_or_id(text: &str) -> Result<NameOrId, UserError> {
    let signless = text.strip_prefix(['-', '+']).unwrap_or(text);
    if signless.is_empty() || !signless.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(NameOrId::Name(text.to_owned()));
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX && !text.starts_with('-') => Ok(NameOrId::Id(id)),
        _ => Err(UserError::Range { text: text.to_owned() }),
    }
}

impl UserText {
    /// Parses `user` or `user:group`. Each half is a name or a number; beside a `:` it may be nothing, which as a user is
    /// root and as a group has the empty name.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let grammar = || UserError::Grammar { text: text.to_owned() };
        let mut halves = text.split(':');
        let user = halves.next().unwrap_or_default();
        let group = halves.next();
        let readable = |half: &str| !half.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',');
        if text.is_empty() || halves.next().is_some() || !readable(user) || !group.is_none_or(readable) {
            return Err(grammar());
        }
        let user = if user.is_empty() { NameOrId::Id(0) } else { name_or_id(user)? };
        Ok(Self { user, group: group.map(name_or_id).transpose()? })
    }
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The readable lines of a file; a line that is not UTF-8 or has too few fields names nobody.
fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn id(field: &str) -> Option<u32> {
    field.parse::<u32>().ok().filter(|id| *id <= ID_MAX && !field.starts_with('+'))
}

fn users(passwd: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid, gid, home })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn find_group(group: &NameOrId, file: &[u8]) -> Result<u32, UserError> {
    match group {
        NameOrId::Id(gid) => Ok(*gid),
        NameOrId::Name(name) => groups(file)
            .find(|candidate| candidate.name == name)
            .map(|found| found.gid)
            .ok_or_else(|| UserError::NoGroup { name: name.clone() }),
    }
}

/// Who `text` is, given the two files of the image (empty where the image has none).
///
/// An empty text is uid 0. A number is a uid whether or not the image knows it. With a group given there are no
/// other groups; without, the user's own and those of `/etc/group` that list its name.
pub fn identity(text: &str, passwd: &[u8], group: &[u8]) -> Result<Identity, UserError> {
    let parsed = UserText::parse(if text.is_empty() { "0" } else { text })?;
    let entry = match &parsed.user {
        NameOrId::Id(uid) => users(passwd).find(|user| user.uid == *uid),
        NameOrId::Name(name) => users(passwd).find(|user| user.name == name),
    };
    let uid = match (&parsed.user, &entry) {
        (NameOrId::Id(uid), _) => *uid,
        (NameOrId::Name(_), Some(user)) => user.uid,
        (NameOrId::Name(name), None) => return Err(UserError::NoUser { name: name.clone() }),
    };
    let home = entry.as_ref().map(|user| user.home.to_owned()).filter(|home| !home.is_empty());
    if let Some(chosen) = parsed.group.as_ref().filter(|chosen| !chosen.is_nothing()) {
        let gid = find_group(chosen, group)?;
        return Ok(Identity { uid, gid, groups: vec![gid], home });
    }
    let gid = entry.as_ref().map_or(0, |user| user.gid);
    let mut all = vec![gid];
    if let Some(user) = &entry {
        for candidate in groups(group) {
            let listed = candidate.members.split(',').any(|member| member.trim() == user.name);
            if listed && !all.contains(&candidate.gid) {
                all.push(candidate.gid);
            }
        }
    }
    Ok(Identity { uid, gid, groups: all, home })
}

/// Owner and group that a `--chown` text means: a name alone brings the user's own group, a number alone the group of
/// the same number, nothing after a `:` the group 0.
pub fn owner(text: &str, passwd: &[u8], group: &[u8]) -> Result<(u32, u32), UserError> {
    let parsed = UserText::parse(text)?;
    let (uid, own_gid) = match &parsed.user {
        NameOrId::Id(uid) => (*uid, *uid),
        NameOrId::Name(name) => users(passwd)
            .find(|user| user.name == name)
            .map(|found| (found.uid, found.gid))
            .ok_or_else(|| UserError::NoUser { name: name.clone() })?,
    };
    let gid = match &parsed.group {
        None => own_gid,
        Some(chosen) if chosen.is_nothing() => 0,
        Some(chosen) => find_group(chosen, group)?,
    };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken line\n1000:x:0:0::/:/bin/sh\n\
        app:x:1000:1001:App:/home/app:/bin/sh\nwrap:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\nbare:x:7:8\n";
    const GROUP: &[u8] =
        b"root:x:0:root\nbin:x:1:root,daemon\nstaff:x:50:app\nwheel:x:10:root,app\napp:x:1001:\ntwice:x:50:app\n";

    fn who(text: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        identity(text, PASSWD, GROUP).map(|identity| (identity.uid, identity.gid, identity.groups))
    }

    #[test]
    fn an_empty_text_is_root_with_its_groups() {
        assert_eq!(who(""), Ok((0, 0, vec![0, 1, 10])));
        assert_eq!(who(""), who("root"));
        assert_eq!(who(""), who("0"));
        assert_eq!(
            identity("", b"", b"").map(|root| (root.uid, root.gid, root.groups, root.home)),
            Ok((0, 0, vec![0], None))
        );
    }

    #[test]
    fn a_name_brings_its_primary_and_listed_groups() {
        assert_eq!(who("app"), Ok((1000, 1001, vec![1001, 50, 10])));
        assert_eq!(identity("app", PASSWD, GROUP).ok().and_then(|app| app.home), Some("/home/app".to_owned()));
        assert_eq!(identity("bare", PASSWD, GROUP).ok().and_then(|bare| bare.home), None);
    }

    #[test]
    fn a_number_is_never_a_name() {
        assert_eq!(who("1000"), who("app"));
        assert_eq!(who("4242"), Ok((4242, 0, vec![0])));
    }

    #[test]
    fn a_given_group_is_the_only_group() {
        assert_eq!(who("app:staff"), Ok((1000, 50, vec![50])));
        assert_eq!(who("1000:1000"), Ok((1000, 1000, vec![1000])));
        assert_eq!(who("0:wheel"), Ok((0, 10, vec![10])));
    }

    #[test]
    fn texts_that_are_no_users_are_refused() {
        for text in ["a:b:c", "a b", "a\nb", "a,b", "::"] {
            assert_eq!(who(text), Err(UserError::Grammar { text: text.to_owned() }), "{text:?}");
        }
        for text in ["4294967296", "4294967295", "-1", "99999999999999999999"] {
            assert_eq!(who(text), Err(UserError::Range { text: text.to_owned() }), "{text:?}");
            assert_eq!(who(&format!("0:{text}")), Err(UserError::Range { text: text.to_owned() }), "{text:?}");
        }
        assert_eq!(who("2147483648:0"), Ok((2_147_483_648, 0, vec![0])));
        assert!(UserText::parse("").is_err());
    }

    /// As in BuildKit.
    #[test]
    fn a_half_may_be_nothing_beside_a_colon_and_a_number_may_have_a_plus() {
        assert_eq!(who(":50"), Ok((0, 50, vec![50])));
        assert_eq!(who("1000:"), who("1000"));
        assert_eq!(who(":"), who(""));
        assert_eq!(who("+4242:+7"), Ok((4242, 7, vec![7])));
        for (text, expected) in
            [(":50", (0, 50)), (":staff", (0, 50)), ("5:", (5, 0)), ("app:", (1000, 0)), ("+5", (5, 5))]
        {
            assert_eq!(owner(text, PASSWD, GROUP), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unknown_names_are_errors_and_entries_with_impossible_ids_name_nobody() {
        for name in ["nobody", "wrap", "minus"] {
            assert_eq!(who(name), Err(UserError::NoUser { name: name.to_owned() }));
        }
        assert_eq!(who("app:nogroup"), Err(UserError::NoGroup { name: "nogroup".to_owned() }));
    }

    #[test]
    fn an_owner_without_a_group_takes_its_own() {
        assert_eq!(owner("app", PASSWD, GROUP), Ok((1000, 1001)));
        assert_eq!(owner("1000", PASSWD, GROUP), Ok((1000, 1000)));
        assert_eq!(owner("5:staff", PASSWD, GROUP), Ok((5, 50)));
        assert_eq!(owner("nosuch", PASSWD, GROUP), Err(UserError::NoUser { name: "nosuch".to_owned() }));
        assert_eq!(owner("", PASSWD, GROUP), Err(UserError::Grammar { text: String::new() }));
    }
}
