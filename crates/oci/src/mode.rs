//! File modes as `--chmod` writes them: `755`, or `u=rwX,go-w`.
//!
//! Turns a text into a change of permission bits. It reads no file and no file mode creation mask.
//!
//! A text is octal digits, or clauses with commas between them; a clause is who (`u`, `g`, `o`, `a`; nobody is everybody)
//! and one or more of `+`, `-`, `=` with permissions after it (`r`, `w`, `x`, `X`, `s`, `t`) or the name of a class whose
//! permissions are copied. An octal mode replaces all bits, also those of a directory.
//!
//! Reference: POSIX, `chmod`, "Extended description"; setmode(3) of BSD, whose rules BuildKit follows: `X` looks at
//! the mode before the whole change, and `=` takes away set-user-id and set-group-id too.

use std::fmt;

/// Largest mode: set-user-id, set-group-id, sticky, and all of the nine others.
pub const MODE_MAX: u32 = 0o7777;

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no file mode: expected an octal number between 0 and 7777, or symbols like `u=rwX,go-w`")]
pub struct ModeError {
    /// The text as given.
    pub text: String,
}

/// What happens to the permission bits of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModeChange(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Absolute(u32),
    Clauses(Vec<Clause>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Clause {
    who: Classes,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Action {
    operator: Operator,
    /// Letters of [`PERMISSIONS`], one bit each.
    permissions: u8,
    /// Classes whose permissions are copied.
    copies: Classes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Add,
    Remove,
    Set,
}

/// Some of user, group and others: bits 4, 2 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Classes(u8);

/// The classes with their letters, the bit in [`Classes`], and how far their bits in a mode are from the right.
const CLASSES: [(char, u8, u32); 3] = [('u', 4, 6), ('g', 2, 3), ('o', 1, 0)];

/// The permissions with their letters and the bits in a mode. `X` is `x` under a condition.
const PERMISSIONS: [(char, u32); 6] =
    [('r', 0o444), ('w', 0o222), ('x', 0o111), ('X', 0o111), ('s', 0o6000), ('t', 0o1000)];

/// Index of `X` in [`PERMISSIONS`].
const CONDITIONAL: usize = 3;

impl ModeChange {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError { text: text.to_owned() };
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let octal = text.bytes().all(|byte| byte.is_ascii_digit());
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= MODE_MAX);
            return mode.map(Kind::Absolute).map(Self).ok_or_else(error);
        }
        let clauses: Option<Vec<Clause>> = text.split(',').map(Clause::parse).collect();
        clauses.map(Kind::Clauses).map(Self).ok_or_else(error)
    }

    /// Returns the mode that a file with the mode `mode` gets. Bits above [`MODE_MAX`] mean nothing and are dropped.
    #[must_use]
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let before = mode & MODE_MAX;
        match &self.0 {
            Kind::Absolute(mode) => *mode,
            Kind::Clauses(clauses) => {
                let executable = is_dir || before & 0o111 != 0;
                let actions =
                    clauses.iter().flat_map(|clause| clause.actions.iter().map(|action| (clause.who, action)));
                actions.fold(before, |mode, (who, action)| action.apply(mode, who, executable))
            }
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let start = text.find(['+', '-', '='])?;
        let (who, mut rest) = text.split_at(start);
        let who = who.chars().try_fold(Classes(0), |who, letter| who.with(letter, true))?;
        let mut actions = Vec::new();
        while let Some(operator) = rest.chars().next() {
            let operator = match operator {
                '+' => Operator::Add,
                '-' => Operator::Remove,
                _ => Operator::Set,
            };
            rest = &rest[1..];
            let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
            let mut action = Action { operator, permissions: 0, copies: Classes(0) };
            for letter in rest[..end].chars() {
                match PERMISSIONS.iter().position(|(name, _)| *name == letter) {
                    Some(index) => action.permissions |= 1 << index,
                    None => action.copies = action.copies.with(letter, false)?,
                }
            }
            actions.push(action);
            rest = &rest[end..];
        }
        Some(Self { who, actions })
    }
}

impl Classes {
    fn with(self, letter: char, all: bool) -> Option<Self> {
        if all && letter == 'a' {
            return Some(Self(7));
        }
        CLASSES.iter().find(|(name, ..)| *name == letter).map(|(_, bit, _)| Self(self.0 | bit))
    }

    /// Nobody named is everybody.
    fn or_all(self) -> Self {
        if self.0 == 0 { Self(7) } else { self }
    }

    /// Returns the shifts of the classes that are in.
    fn shifts(self) -> impl Iterator<Item = u32> {
        CLASSES.into_iter().filter(move |(_, bit, _)| self.0 & bit != 0).map(|(_, _, shift)| shift)
    }

    /// Returns all bits of a mode that belong to the classes: set-user-id to the user, set-group-id to the group.
    fn bits(self) -> u32 {
        let ids = (u32::from(self.0 >> 2 & 1) * 0o4000) | (u32::from(self.0 >> 1 & 1) * 0o2000);
        self.shifts().fold(ids, |bits, shift| bits | (0o7 << shift))
    }

    /// Whether there is more than others, who have neither set-id bits nor a sticky one.
    fn has_special(self) -> bool {
        self.0 & 6 != 0
    }
}

impl Action {
    fn apply(&self, mode: u32, who: Classes, executable: bool) -> u32 {
        let who = who.or_all();
        let mut bits = 0;
        for (index, (_, permission)) in PERMISSIONS.iter().enumerate() {
            if self.permissions >> index & 1 == 1 && (index != CONDITIONAL || executable) {
                bits |= permission;
            }
        }
        let sticky = if who.has_special() { bits & 0o1000 } else { 0 };
        bits = bits & who.bits() | sticky;
        for from in self.copies.shifts() {
            let copied = mode >> from & 0o7;
            bits |= who.shifts().fold(0, |bits, to| bits | copied << to);
        }
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => {
                let only_copied = self.permissions == 0 && self.copies.0 != 0;
                let replaced = if only_copied { who.bits() & 0o777 } else { who.bits() | sticky };
                mode & !replaced | bits
            }
        }
    }
}

impl fmt::Display for ModeChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Absolute(mode) => write!(formatter, "{mode:o}"),
            Kind::Clauses(clauses) => {
                for (index, clause) in clauses.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str(",")?;
                    }
                    clause.fmt(formatter)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Classes(7) => formatter.write_str("a")?,
            who => who.fmt(formatter)?,
        }
        for action in &self.actions {
            formatter.write_str(match action.operator {
                Operator::Add => "+",
                Operator::Remove => "-",
                Operator::Set => "=",
            })?;
            for (index, (letter, _)) in PERMISSIONS.iter().enumerate() {
                if action.permissions >> index & 1 == 1 {
                    write!(formatter, "{letter}")?;
                }
            }
            action.copies.fmt(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, bit, _) in CLASSES {
            if self.0 & bit != 0 {
                write!(formatter, "{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, mode: u32, is_dir: bool) -> u32 {
        ModeChange::parse(text).expect("the mode is valid").apply(mode, is_dir)
    }

    /// T111, A139.
    #[test]
    fn symbols_change_the_mode_that_there_is() {
        for (text, mode, is_dir, expected) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o001, false, 0o755),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o644, true, 0o755),
            ("a+X", 0o654, false, 0o755),
            ("a-x,a+X", 0o755, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("+x", 0o644, false, 0o755),
            ("+w", 0o444, false, 0o666),
            ("u+rw-x", 0o100, false, 0o600),
            ("u=g", 0o4750, false, 0o4550),
            ("g+u,o=", 0o704, false, 0o770),
            ("o=u-w", 0o700, false, 0o705),
            ("u=rwx,g=u-w,o=g-x", 0o000, false, 0o754),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("o+t", 0o777, true, 0o777),
            ("u=rwx", 0o4755, false, 0o755),
            ("a=", 0o7777, false, 0o1000),
            ("=", 0o777, false, 0),
            ("a=rX", 0o640, false, 0o444),
            ("ugo=rwx", 0o000, false, 0o777),
            ("a-X", 0o755, false, 0o644),
        ] {
            assert_eq!(changed(text, mode, is_dir), expected, "{text} of {mode:o}: {:o}", changed(text, mode, is_dir));
        }
    }

    /// T110, A138.
    #[test]
    fn octal_numbers_replace_the_mode() {
        for (text, expected) in [("0", 0), ("0644", 0o644), ("755", 0o755), ("7777", 0o7777), ("00000755", 0o755)] {
            assert_eq!(changed(text, 0o4711, true), expected, "{text}");
        }
    }

    /// T110.
    #[test]
    fn what_is_no_mode_is_an_error() {
        for text in ["", "64a", "10000", "rwx", "u", "u=z", "8", "0x1", " 644", "u=rw,", ",", "-1", "644,u+x", "b+x"] {
            assert!(ModeChange::parse(text).is_err(), "{text}");
        }
        let error = ModeChange::parse("64a").expect_err("it is no mode").to_string();
        let expected =
            "`64a` is no file mode: expected an octal number between 0 and 7777, or symbols like `u=rwX,go-w`";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_change_is_shown_in_one_way() {
        for (text, expected) in [
            ("0644", "644"),
            ("gu=Xwr", "ug=rwX"),
            ("ugo+x", "a+x"),
            ("+x", "+x"),
            ("u=g,a+", "u=g,a+"),
            ("a-rw+x", "a-rw+x"),
        ] {
            assert_eq!(ModeChange::parse(text).expect("the mode is valid").to_string(), expected);
        }
    }
}
