//! Options of other builders that stave does not have: each is known, and answered.
//!
//! An option that asks for what is so anyway is accepted without a word, one that can change nothing here with a note;
//! any other is refused by its name, with the way out. What is said is in [`table`](super::table).

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::table::TABLE;
use super::value::truth;

/// Options that have one answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Numbers of the feature list, which the page of options names.
    pub(crate) features: &'static str,
    /// The options: `--memory -m`.
    pub(crate) flags: &'static [&'static str],
    /// What follows them.
    pub(crate) takes: Takes,
    /// The first that matches counts.
    pub(crate) answers: &'static [(Values, Answer)],
}

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Nothing,
    /// A value; this is one that people give.
    Value(&'static str),
}

/// For which values an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Exactly these.
    Of(&'static [&'static str]),
    /// Those that begin like this.
    Like(&'static str),
    /// All that are left.
    Any,
}

/// What stave answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What it asks for is so anyway: why.
    So(&'static str),
    /// It changes nothing here: why.
    Note(&'static str),
    /// It is not there: what to do instead.
    Refused(&'static str),
    /// It is not there yet: what to do until then.
    NotYet(&'static str),
}

/// What was given of these options.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// In the order of the table: the option, its value and the answer.
    pub(crate) given: Vec<(String, String, Answer)>,
}

impl Row {
    /// Returns the answer to a value of this row's options.
    pub(crate) fn answer(&self, value: &str) -> Answer {
        let matching = |values: &Values| match values {
            Values::Of(known) => known.contains(&value),
            Values::Like(start) => value.starts_with(start),
            Values::Any => true,
        };
        let found = self.answers.iter().find(|(values, _)| matching(values));
        found.expect("the last answer of each row is for any value").1
    }

    fn args(&self) -> impl Iterator<Item = Arg> {
        self.flags.iter().map(|names| {
            let arg = names.split(' ').fold(Arg::new(*names).hide(true).action(ArgAction::Append), |arg, name| {
                match name.strip_prefix("--") {
                    Some(long) => arg.long(long.to_owned()),
                    None => arg.short(name.chars().last().expect("the table has no empty names")),
                }
            });
            match self.takes {
                Takes::Nothing => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(switch)
                }
                Takes::Value(_) => arg.num_args(1).allow_hyphen_values(true),
            }
        })
    }
}

/// Reads the value of a switch.
fn switch(text: &str) -> Result<String, String> {
    truth(text).map(|truth| truth.to_string()).ok_or_else(|| "expected `true` or `false`".to_owned())
}

impl Args for Elsewhere {
    fn augment_args(command: Command) -> Command {
        command.args(TABLE.iter().flat_map(Row::args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Elsewhere {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for row in TABLE {
            for names in row.flags {
                for value in matches.get_many::<String>(names).into_iter().flatten() {
                    let name = names.split(' ').next().unwrap_or(names);
                    given.push((name.to_owned(), value.clone(), row.answer(value)));
                }
            }
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
