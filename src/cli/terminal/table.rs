//! Tables on standard output.

use std::io;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

/// Characters in a line without a terminal.
const WIDTH: u16 = 100;

/// A table with this header, no wider than standard output. Text that does not fit is wrapped between words, except in
/// the column `name`.
pub(in crate::cli) fn table<const COLUMNS: usize>(header: [&str; COLUMNS], name: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width())
        .set_header(header);
    if let Some(column) = table.column_mut(name) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

/// The content of a column, and whether it may be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Column {
    /// Words, which may be wrapped.
    Text,
    /// One word, which may not be wrapped.
    Word,
    /// A figure, which may not be wrapped and is aligned to the right.
    Figure,
}

/// A column of text is at least this wide, if it has that much text.
const NARROWEST_TEXT: u16 = 12;

/// A table with this header and these rows, no wider than standard output. If that is too narrow for a table, each row
/// becomes a list.
pub(in crate::cli) fn figures<const COLUMNS: usize>(
    header: [(&str, Column); COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    figures_within(width(), header, rows)
}

fn figures_within<const COLUMNS: usize>(
    width: u16,
    header: [(&str, Column); COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.map(|(name, _)| name))
        .add_rows(rows);
    let mut needed = 0;
    let contents = table.column_max_content_widths();
    for ((column, (_, kind)), content) in table.column_iter_mut().zip(header).zip(contents) {
        let least = match kind {
            Column::Text => content.min(NARROWEST_TEXT),
            Column::Word | Column::Figure => {
                column.set_constraint(ColumnConstraint::ContentWidth);
                content
            }
        };
        if kind == Column::Figure {
            column.set_cell_alignment(CellAlignment::Right);
        }
        // A space at each side, and a border.
        needed += least + 3;
    }
    if needed < width {
        return table.to_string();
    }
    let mut lines = Vec::new();
    for row in rows {
        let mut cells = header.iter().zip(row);
        lines.extend(cells.next().map(|(_, name)| name.clone()));
        let filled = cells.filter(|(_, cell)| !cell.is_empty());
        lines.extend(filled.map(|((name, _), cell)| format!("  {name}: {cell}")));
    }
    lines.join("\n")
}

/// Characters that fit a line of standard output.
fn width() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok()
        .map(|size| size.ws_col)
        .filter(|&width| width > 0)
        .unwrap_or(WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_whole_when_other_columns_are_wrapped() {
        let mut table = table(["name", "text"], 0);
        table.set_width(40);
        table.add_row(["a name of thirty characters...", "words that do not fit"]);
        let text = table.to_string();
        assert!(text.contains("a name of thirty characters..."), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
    }

    /// The table that `bench` prints of a card.
    fn bench(width: u16) -> String {
        use Column::{Figure, Text, Word};
        let header = [
            ("Device", Text),
            ("Kernel", Word),
            ("Threads", Figure),
            ("Rate", Figure),
            ("Cycles/hash", Figure),
            ("Limited by", Text),
        ];
        let row = [
            "NVIDIA GeForce RTX 4090 Laptop GPU (0000:65:00.0)",
            "u64",
            "1",
            "12.3 GH/s",
            "-",
            "the card, which was busy 99 % of the time",
        ];
        figures_within(width, header, &[row.map(str::to_owned)])
    }

    #[test]
    fn figures_are_never_wrapped() {
        for width in [80, 100, 200] {
            let table = bench(width);
            let fits = |line: &str| line.chars().count() <= usize::from(width);
            assert!(table.lines().all(fits), "{table}");
            for figure in ["12.3 GH/s", "Cycles/hash", "Threads", "u64"] {
                assert!(table.contains(figure), "{figure} in {table}");
            }
            assert!(table.starts_with('┌'), "{table}");
        }
    }

    #[test]
    fn a_table_that_does_not_fit_becomes_a_list() {
        let lines = bench(40);
        assert_eq!(
            lines.lines().take(4).collect::<Vec<_>>(),
            [
                "NVIDIA GeForce RTX 4090 Laptop GPU (0000:65:00.0)",
                "  Kernel: u64",
                "  Threads: 1",
                "  Rate: 12.3 GH/s",
            ]
        );
    }
}
