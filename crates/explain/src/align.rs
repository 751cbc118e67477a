//! Which step of one stage is which of another one: so that a line that was put in makes one new step and not many others.

/// What of a step tells it from its neighbours.
pub(crate) struct Line<'a> {
    /// The instruction on one line.
    pub(crate) title: &'a str,
    /// Its cache key.
    pub(crate) key: &'a str,
}

/// Most cells of the table that is made for two stages. Beyond that, steps are taken in their order.
const CELLS_MAX: usize = 4_000_000;

/// Returns for each of `new` the place of the one in `old` that it was, if it was there. Places rise.
pub(crate) fn align(new: &[Line<'_>], old: &[Line<'_>]) -> Vec<Option<usize>> {
    let mut found = vec![None; new.len()];
    let head = new.iter().zip(old).take_while(|(new, old)| new.title == old.title).count();
    let rest = new.len().min(old.len()) - head;
    let tail =
        new.iter().rev().zip(old.iter().rev()).take(rest).take_while(|(new, old)| new.title == old.title).count();
    for (place, pair) in found.iter_mut().enumerate().take(head) {
        *pair = Some(place);
    }
    for back in 1..=tail {
        found[new.len() - back] = Some(old.len() - back);
    }
    let (new, old) = (&new[head..new.len() - tail], &old[head..old.len() - tail]);
    for (place, other) in middle(new, old) {
        found[head + place] = Some(head + other);
    }
    found
}

/// Returns the pairs of the best alignment, by dynamic programming.
///
/// Reference: S. B. Needleman, C. D. Wunsch, "A general method applicable to the search for similarities", 1970.
fn middle(new: &[Line<'_>], old: &[Line<'_>]) -> Vec<(usize, usize)> {
    if new.len().saturating_mul(old.len()) > CELLS_MAX {
        let same =
            |(place, (new, old)): (usize, (&Line<'_>, &Line<'_>))| (score(new, old) > 0).then_some((place, place));
        return new.iter().zip(old).enumerate().filter_map(same).collect();
    }
    let width = old.len() + 1;
    let mut table = vec![0_u32; (new.len() + 1) * width];
    for row in (0..new.len()).rev() {
        for column in (0..old.len()).rev() {
            let pair = score(&new[row], &old[column]);
            let both = if pair > 0 { pair + table[(row + 1) * width + column + 1] } else { 0 };
            let skip = table[(row + 1) * width + column].max(table[row * width + column + 1]);
            table[row * width + column] = both.max(skip);
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, Vec::new());
    while row < new.len() && column < old.len() {
        let here = table[row * width + column];
        let pair = score(&new[row], &old[column]);
        if pair > 0 && here == pair + table[(row + 1) * width + column + 1] {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if here == table[(row + 1) * width + column] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

/// How much speaks for it that one is the other; 0 if they cannot be.
fn score(new: &Line<'_>, old: &Line<'_>) -> u32 {
    if new.key == old.key {
        return 1000;
    }
    if new.title == old.title {
        return 900;
    }
    let keyword = |title: &str| title.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if keyword(new.title) != keyword(old.title) {
        return 0;
    }
    let words: Vec<&str> = old.title.split_whitespace().skip(1).take(64).collect();
    let (mut shared, mut count) = (0, 0);
    for word in new.title.split_whitespace().skip(1).take(64) {
        count += 1;
        shared += u32::from(words.contains(&word));
    }
    let all = count.max(u32::try_from(words.len()).unwrap_or(u32::MAX)).max(1);
    1 + shared * 400 / all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(new: &[&str], old: &[&str]) -> Vec<Option<usize>> {
        fn lines<'a>(titles: &[&'a str], key: &'a str) -> Vec<Line<'a>> {
            titles.iter().map(|title| Line { title, key }).collect()
        }
        align(&lines(new, "new"), &lines(old, "old"))
    }

    #[test]
    fn a_line_that_was_put_in_moves_the_others() {
        let old = ["FROM a", "RUN x", "RUN y", "COPY . /"];
        assert_eq!(
            aligned(&["FROM a", "RUN x", "RUN new thing", "RUN y", "COPY . /"], &old),
            [Some(0), Some(1), None, Some(2), Some(3)]
        );
        assert_eq!(aligned(&["FROM a", "RUN y", "COPY . /"], &old), [Some(0), Some(2), Some(3)]);
    }

    #[test]
    fn a_changed_line_is_the_one_that_is_most_like_it() {
        assert_eq!(aligned(&["RUN make -j2 all"], &["RUN apt-get update", "RUN make all"]), [Some(1)]);
        assert_eq!(aligned(&["RUN a", "RUN b"], &["RUN c", "RUN d"]), [Some(0), Some(1)]);
        assert_eq!(aligned(&["COPY a b"], &["RUN c"]), [None]);
        assert_eq!(aligned(&[], &["RUN c"]), []);
    }
}
