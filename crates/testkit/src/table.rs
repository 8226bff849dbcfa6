//! Tests as text: a header row, then one row per case, columns separated by `|`.

use std::collections::BTreeMap;

/// One row: column name to cell. Cells are trimmed.
pub type Row<'a> = BTreeMap<&'a str, &'a str>;

/// The rows of a table. Empty lines and lines that start with `#` are skipped.
///
/// # Panics
/// If a row has more or fewer cells than the header, naming the row.
pub fn rows(table: &str) -> Vec<Row<'_>> {
    let mut lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let header: Vec<&str> = lines.next().map(cells).unwrap_or_default();
    lines
        .map(|line| {
            let cells = cells(line);
            assert_eq!(cells.len(), header.len(), "the row has another number of cells than the header: {line}");
            header.iter().copied().zip(cells).collect()
        })
        .collect()
}

fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}
