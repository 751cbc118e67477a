//! Rows in, columns out: Docker's tables and its `--format`.
//!
//! A row is a JSON object; a column names one of its fields. What the fields mean is the commands' business.

use serde_json::{Map, Value};

use crate::template::{Template, TemplateError};

/// Narrowest column, and blanks between two, as in Docker.
const COLUMN_MIN: usize = 10;
const COLUMN_GAP: usize = 3;

/// A field of a row, and the head of its column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    pub(crate) head: &'static str,
}

/// Makes a [`Column`].
pub(crate) const fn column(field: &'static str, head: &'static str) -> Column {
    Column { field, head }
}

/// How rows are printed.
#[derive(Debug)]
pub(crate) enum Format {
    /// Under heads, with these columns.
    Table(Template),
    /// One line a row.
    Lines(Template),
    /// One JSON object a row.
    Json,
}

impl Format {
    /// Reads the value of `--format`; without one, a table of `columns`.
    pub(crate) fn parse(text: Option<&str>, columns: &[Column]) -> Result<Self, TemplateError> {
        let unescaped = text.unwrap_or("table").replace("\\t", "\t").replace("\\n", "\n");
        let text = unescaped.trim();
        match text.strip_prefix("table") {
            Some("") => Template::parse(&all(columns)).map(Self::Table),
            Some(rest) if rest.starts_with(char::is_whitespace) => Template::parse(rest.trim_start()).map(Self::Table),
            _ if text == "json" => Ok(Self::Json),
            _ => Template::parse(&unescaped).map(Self::Lines),
        }
    }

    /// Returns `rows` as text. `heads` says what stands above the columns of a table.
    pub(crate) fn render(&self, rows: &[Value], heads: &[Column]) -> Result<String, TemplateError> {
        match self {
            Self::Json => Ok(rows.iter().map(|row| json_of(row) + "\n").collect()),
            Self::Lines(template) => rows.iter().map(|row| Ok(template.render(row)? + "\n")).collect(),
            Self::Table(template) => {
                let head: Map<String, Value> =
                    heads.iter().map(|column| (column.field.to_owned(), Value::from(column.head))).collect();
                let mut lines = vec![template.render(&Value::Object(head))?];
                for row in rows {
                    lines.push(template.render(row)?);
                }
                Ok(aligned(&lines))
            }
        }
    }
}

/// Returns a row as JSON, without what only a template asks for: `.Label "NAME"`.
fn json_of(row: &Value) -> String {
    let mut row = row.clone();
    if let Value::Object(fields) = &mut row {
        fields.shift_remove("Label");
    }
    row.to_string()
}

fn all(columns: &[Column]) -> String {
    columns.iter().map(|column| format!("{{{{.{}}}}}", column.field)).collect::<Vec<_>>().join("\t")
}

/// Lines whose cells are separated by tabs, as columns.
pub(crate) fn aligned(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            let width = (cell.chars().count() + COLUMN_GAP).max(COLUMN_MIN);
            match widths.get_mut(at) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if at + 1 < row.len() {
                let gap = widths[at] - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[column("Repository", "REPOSITORY"), column("Tag", "TAG"), column("Size", "SIZE")];

    fn rendered(format: Option<&str>) -> String {
        let rows = [
            json!({"Repository": "alpine", "Tag": "latest", "Size": "7.8MB"}),
            json!({"Repository": "avmaksimov/href-counter", "Tag": "1", "Size": "14MB"}),
        ];
        let format = Format::parse(format, COLUMNS).expect("the format is right");
        format.render(&rows, COLUMNS).expect("the fields are there")
    }

    #[test]
    fn a_table_has_aligned_columns() {
        let expected = "\
REPOSITORY                TAG       SIZE
alpine                    latest    7.8MB
avmaksimov/href-counter   1         14MB
";
        assert_eq!(rendered(None), expected);
        assert_eq!(rendered(Some("table")), expected);
    }

    #[test]
    fn a_template_chooses_columns() {
        assert_eq!(rendered(Some("table {{.Tag}}\\t{{.Size}}")), "TAG       SIZE\nlatest    7.8MB\n1         14MB\n");
        assert_eq!(rendered(Some("{{.Repository}}:{{.Tag}}")), "alpine:latest\navmaksimov/href-counter:1\n");
        assert!(rendered(Some("json")).starts_with("{\"Repository\":\"alpine\""));
        assert_eq!(
            Format::parse(None, COLUMNS).and_then(|format| format.render(&[], COLUMNS)).as_deref(),
            Ok("REPOSITORY   TAG       SIZE\n")
        );
    }
}
