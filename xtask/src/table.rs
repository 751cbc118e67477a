//! Tables for a terminal that are also Markdown, and sizes and times in a person's units.

use std::time::Duration;

/// Rows under a head, all columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    std::iter::once(line(&head)).chain([line(&rule)]).chain(rows.iter().map(|row| line(row))).collect()
}

/// `753.3 MB`, in units of 1000.
pub(crate) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

/// `12.3 s` or `45 ms`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{:.1} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned()]];
        let expected = "| x   | y         |\n| --- | --------- |\n| a   | long cell |\n";
        assert_eq!(table(&["x", "y"], &rows), expected);
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        let shown: Vec<String> = [0.0042, 0.45, 12.0].map(|s| time(Duration::from_secs_f64(s))).to_vec();
        assert_eq!(shown, ["4.2 ms", "450 ms", "12.00 s"]);
    }
}
