//! What listings make of `--filter`: the keys that there are, which of them are times, and what is asked of several values.

use std::collections::BTreeMap;

use crate::args::{Comparison, FilterArg, When};
use crate::failure::Failure;

/// The keys of a command's filters, by what their values are.
pub(super) struct Keys {
    pub(super) times: &'static [&'static str],
    pub(super) texts: &'static [&'static str],
    /// Those that are true or false.
    pub(super) truths: &'static [&'static str],
}

/// Filters, understood.
#[derive(Default)]
pub(super) struct Sorted {
    /// Those about texts and truths, as they were given.
    pub(super) others: Vec<FilterArg>,
    /// Those about times, in seconds since 1970; the last of each key.
    pub(super) times: BTreeMap<String, i64>,
}

impl Keys {
    /// Tells filters apart. Fails for a key that there is not, and for a value that its key cannot have.
    pub(super) fn sort(&self, given: &[FilterArg], now: i64) -> Result<Sorted, Failure> {
        let mut sorted = Sorted::default();
        for filter in given {
            let key = filter.key.as_str();
            if self.times.contains(&key) {
                sorted.times.insert(key.to_owned(), time(filter, now)?);
            } else if self.truths.contains(&key) {
                filter.accepts_truth(true).map_err(Failure::usage)?;
                sorted.others.push(filter.clone());
            } else if self.texts.contains(&key) {
                sorted.others.push(filter.clone());
            } else {
                return Err(unknown(key, &[self.texts, self.truths, self.times].concat()));
            }
        }
        Ok(sorted)
    }
}

/// The failure for a filter that a command does not have.
pub(super) fn unknown(key: &str, known: &[&str]) -> Failure {
    Failure::usage(format!("there is no filter `{key}` here")).with_hint(&format!("There are: {}.", known.join(", ")))
}

/// Returns the time that `until=` means.
pub(super) fn time(filter: &FilterArg, now: i64) -> Result<i64, Failure> {
    match &filter.comparison {
        Comparison::Is(text) => text.parse::<When>().map(|when| when.seconds(now)).map_err(Failure::usage),
        Comparison::IsNot(_) | Comparison::Matches(_) => {
            Err(Failure::usage(format!("`{}` is a time, which only `=` can be asked about", filter.key)))
        }
    }
}

/// Whether a filter holds for something that has several values: what it must not be, none of them is.
pub(super) fn holds_for(filter: &FilterArg, values: &[String]) -> bool {
    match &filter.comparison {
        Comparison::IsNot(_) => values.iter().all(|value| filter.accepts(value)),
        Comparison::Is(_) | Comparison::Matches(_) => values.iter().any(|value| filter.accepts(value)),
    }
}
