//! Columns.

use super::escape_line;

/// Lines with a heading whose columns are aligned: three blanks between columns, none at the end of a line. What stands
/// in a cell may come from elsewhere, and stays in it.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut lines: Vec<Vec<String>> = vec![heading.iter().map(ToString::to_string).collect()];
    lines.extend(rows.into_iter().map(|row| row.iter().map(|cell| escape_line(cell).into_owned()).collect()));
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..heading.len()).map(|column| width(column).unwrap_or(0) + 3).collect();
    lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "2".to_owned()]];
        assert_eq!(super::table(&["NAME", "N"], rows), ["NAME     N", "a        1", "longer   2"]);
    }
}
