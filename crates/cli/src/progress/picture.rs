//! The cells of a virtual terminal into a picture for the book, as SVG.

use std::fmt::Write as _;

/// Width and height of a cell, in pixels.
const CELL: (f64, f64) = (8.4, 18.0);
/// Room around the cells.
const MARGIN: f64 = 14.0;
/// What a terminal's eight colours look like, on a dark ground.
const COLOURS: [&str; 8] = ["#5c6370", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#dcdfe4"];

/// Returns the picture of a screen. `title` is what a screen reader says.
pub(super) fn svg(screen: &vt100::Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let width = f64::from(columns.get()) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(rows.get()) * CELL.1 + 2.0 * MARGIN;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e222a\"/>\n"
    );
    for row in 0..rows.get() {
        for (column, style, text) in runs(screen, row, columns.get()) {
            let x = f64::from(column) * CELL.0 + MARGIN;
            let y = f64::from(row + 1) * CELL.1 + MARGIN - 5.0;
            writeln!(picture, "<text x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\"{style}>{text}</text>")
                .expect("writing to a string does not fail");
        }
    }
    picture + "</svg>\n"
}

/// Returns the pieces of a row that look alike, between gaps of blanks: their columns, how they look, and their text.
fn runs(screen: &vt100::Screen, row: u16, columns: u16) -> Vec<(u16, String, String)> {
    let mut runs: Vec<(u16, String, String)> = Vec::new();
    let mut blanks = usize::MAX;
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else { continue };
        let text = cell.contents();
        if text.trim().is_empty() {
            blanks = blanks.saturating_add(1);
            continue;
        }
        let style = style(cell);
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        match runs.last_mut() {
            // Beside a wide character, a piece of its own keeps its place whatever the font.
            Some((_, before, run)) if *before == style && blanks < 2 && run.is_ascii() && text.is_ascii() => {
                run.push_str(&" ".repeat(blanks));
                run.push_str(&text);
            }
            _ => runs.push((column, style, text)),
        }
        blanks = 0;
    }
    runs
}

fn style(cell: &vt100::Cell) -> String {
    let colour = match cell.fgcolor() {
        vt100::Color::Default => "#dcdfe4".to_owned(),
        vt100::Color::Idx(number) => COLOURS[usize::from(number % 8)].to_owned(),
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    };
    let bold = if cell.bold() { " font-weight=\"bold\"" } else { "" };
    let dim = if cell.dim() { " opacity=\"0.65\"" } else { "" };
    format!(" fill=\"{colour}\"{bold}{dim}")
}
