//! Where the times of files come from, and what they become in an image.
//!
//! Turns the time of a file in a layer's directory into the one that the layer's tar says. Files in a layer keep the times
//! that they really have, for steps compare them. But a time that only says when a step happened to run, or when somebody
//! happened to check out a context, is not part of what the image is made of. Such times are marked: their last digits,
//! below a tenth of a millisecond, say where they come from, and whatever keeps a file's time keeps the mark with it.
//! It knows neither clocks nor where an epoch comes from.

use crate::dir::Time;

/// Nanoseconds that a mark takes the place of.
const GRAIN: u32 = 100_000;
/// What they are instead: numbers that no clock with a coarser tick shows.
const MADE: u32 = 77_103;
const GIVEN: u32 = 77_211;

/// Why a file has its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A step made or changed it then.
    Made,
    /// It had that time in a context, where its content counts and its time does not.
    Given,
}

impl Time {
    /// Returns the time with a mark that says where it comes from.
    #[must_use]
    pub fn marked(self, origin: Origin) -> Self {
        let mark = match origin {
            Origin::Made => MADE,
            Origin::Given => GIVEN,
        };
        Self { nanoseconds: self.nanoseconds / GRAIN * GRAIN + mark, ..self }
    }

    /// Returns where the time comes from, if it is marked.
    #[must_use]
    pub fn origin(self) -> Option<Origin> {
        match self.nanoseconds % GRAIN {
            MADE => Some(Origin::Made),
            GIVEN => Some(Origin::Given),
            _ => None,
        }
    }
}

/// What becomes of the times of a layer's files in its tar. All are whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Times {
    /// They stay as they are.
    Real,
    /// What steps made has this time, and nothing is younger.
    Clamped(i64),
    /// What steps made and what contexts gave has this time, and nothing is younger.
    Fixed(i64),
    /// What steps made and what contexts gave has this time; what is younger because an archive or a server says so stays
    /// so.
    New(i64),
    /// All files have this time.
    All(i64),
}

impl Times {
    /// Returns the seconds that a tar says for a file that was modified at `time`.
    #[must_use]
    pub fn of(self, time: Time) -> i64 {
        match (self, time.origin()) {
            (Self::Real, _) | (Self::New(_), None) => time.seconds,
            (Self::All(epoch), _)
            | (Self::Clamped(epoch), Some(Origin::Made))
            | (Self::Fixed(epoch) | Self::New(epoch), Some(Origin::Made | Origin::Given)) => epoch,
            (Self::Clamped(epoch) | Self::Fixed(epoch), _) => time.seconds.min(epoch),
        }
    }

    /// Returns a text for it, by which a layer's tar is remembered.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Real => String::new(),
            Self::Clamped(epoch) => epoch.to_string(),
            Self::Fixed(epoch) => format!("={epoch}"),
            Self::New(epoch) => format!("+{epoch}"),
            Self::All(epoch) => format!("@{epoch}"),
        }
    }

    /// Returns what [`Self::text`] was made of, if it was made of anything.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok();
        match text.as_bytes() {
            [] => Some(Self::Real),
            [b'=', ..] => number(&text[1..]).map(Self::Fixed),
            [b'+', ..] => number(&text[1..]).map(Self::New),
            [b'@', ..] => number(&text[1..]).map(Self::All),
            _ => number(text).map(Self::Clamped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time { seconds: 50, nanoseconds: 123_456_789 };

    #[test]
    fn a_mark_keeps_a_time_but_for_its_last_digits() {
        for origin in [Origin::Made, Origin::Given] {
            let marked = TIME.marked(origin);
            assert_eq!(marked.origin(), Some(origin));
            assert_eq!(marked.marked(origin), marked);
            assert_eq!((marked.seconds, marked.nanoseconds / GRAIN), (50, 1234));
        }
        assert_eq!(TIME.origin(), None);
        assert_eq!(Time { seconds: 1, nanoseconds: 0 }.origin(), None);
    }

    #[test]
    fn only_times_that_mean_nothing_are_replaced() {
        let (made, given) = (TIME.marked(Origin::Made), TIME.marked(Origin::Given));
        for (times, of_made, of_given, of_others) in [
            (Times::Real, 50, 50, 50),
            (Times::Clamped(70), 70, 50, 50),
            (Times::Fixed(70), 70, 70, 50),
            (Times::Clamped(20), 20, 20, 20),
            (Times::Fixed(20), 20, 20, 20),
            (Times::New(20), 20, 20, 50),
            (Times::All(70), 70, 70, 70),
        ] {
            assert_eq!([times.of(made), times.of(given), times.of(TIME)], [of_made, of_given, of_others], "{times:?}");
            assert_eq!(Times::from_text(&times.text()), Some(times));
        }
        assert_eq!(Times::from_text("x"), None);
    }
}
