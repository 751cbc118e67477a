//! How much of what steps wrote is on a page: the begin and the end of each log.

use std::collections::BTreeMap;

use stave_history::event::StepId;

/// Bytes of all logs on a page.
const LOGS_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Bytes of the log of one step.
const LOG_BYTES_MAX: u64 = 128 * 1024;
/// Of what there is room for, the begin gets a quarter: what went wrong stands at the end.
const HEAD_PART: u64 = 4;

/// A part of what a step wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogExcerpt {
    /// How it begins; all of it, if nothing is left out.
    pub head: Vec<u8>,
    /// How many bytes are left out after that.
    pub left_out: u64,
    /// How it ends.
    pub tail: Vec<u8>,
}

/// How much of a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogShare {
    /// Bytes from its begin.
    pub head: u64,
    /// Bytes from its end.
    pub tail: u64,
}

/// Shares the room on a page among logs of these sizes: short ones are whole, long ones have the same room each. The first
/// steps of `first` come before all others.
#[must_use]
pub fn share_logs(sizes: &BTreeMap<StepId, u64>, first: Option<StepId>) -> BTreeMap<StepId, LogShare> {
    let mut room = LOGS_BYTES_MAX;
    let mut shares = BTreeMap::new();
    let mut order: Vec<(StepId, u64)> = sizes.iter().map(|(step, size)| (*step, *size)).collect();
    order.sort_by_key(|&(step, size)| (Some(step) != first, size));
    for (at, &(step, size)) in order.iter().enumerate() {
        let others = u64::try_from(order.len() - at).unwrap_or(u64::MAX);
        let even = if Some(step) == first { room } else { room / others };
        let got = size.min(LOG_BYTES_MAX).min(even);
        room -= got;
        shares.insert(step, share(size, got));
    }
    shares
}

fn share(size: u64, got: u64) -> LogShare {
    if size <= got {
        return LogShare { head: size, tail: 0 };
    }
    LogShare { head: got / HEAD_PART, tail: got - got / HEAD_PART }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_logs_are_whole_and_long_ones_have_the_same_room() {
        let sizes: BTreeMap<StepId, u64> =
            (0..100).map(|step| (StepId(step), if step < 50 { 1_000 } else { 1 << 30 })).collect();
        let shares = share_logs(&sizes, Some(StepId(99)));
        assert_eq!(shares[&StepId(0)], LogShare { head: 1_000, tail: 0 });
        assert_eq!(shares[&StepId(99)].head + shares[&StepId(99)].tail, LOG_BYTES_MAX, "the failed one comes first");
        let total: u64 = shares.values().map(|share| share.head + share.tail).sum();
        assert!(total <= LOGS_BYTES_MAX, "{total}");
        let (one, other) = (shares[&StepId(50)], shares[&StepId(90)]);
        assert!(one.head.abs_diff(other.head) < 10 && one.tail > one.head, "{one:?} {other:?}");
    }
}
