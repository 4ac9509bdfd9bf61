//! What people see: tables on standard output, and on a terminal a line on standard error that moves on.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use indicatif::ProgressBar;

/// Characters in a line where there is no terminal to ask.
const WIDTH: u16 = 100;

/// How often a line moves on.
const INTERVAL: Duration = Duration::from_millis(100);

/// How many intervals a live rate is of: a second, in which a slice or a dispatch too many does not show.
const WINDOW: usize = 10;

/// A table with this header, as wide as standard output at most. What does not fit is broken between words; but the
/// names in column `name` stay whole.
pub(super) fn table<const COLUMNS: usize>(header: [&str; COLUMNS], name: usize) -> Table {
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

/// What is in a column, and whether it may be broken where a line is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Words, which may be.
    Text,
    /// One word, which may not.
    Word,
    /// A figure, which may not, and stands at the right.
    Figure,
}

/// The least that a column with text is made as wide as, where it has that much.
const NARROWEST_TEXT: u16 = 12;

/// A table with this header and these rows, as wide as standard output at most. Where that is too narrow for a table,
/// the rows are told one below the other.
pub(super) fn figures<const COLUMNS: usize>(
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
        // A space at each side, and a line before the next column.
        needed += least + 3;
    }
    if needed < width {
        return table.to_string();
    }
    let mut lines = Vec::new();
    for row in rows {
        let mut cells = header.iter().zip(row);
        lines.extend(cells.next().map(|(_, name)| name.clone()));
        let told = cells.filter(|(_, cell)| !cell.is_empty());
        lines.extend(told.map(|((name, _), cell)| format!("  {name}: {cell}")));
    }
    lines.join("\n")
}

/// How many characters fit a line of standard output.
fn width() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok()
        .map(|size| size.ws_col)
        .filter(|&width| width > 0)
        .unwrap_or(WIDTH)
}

/// Does `work`, and meanwhile has `show` move `line` on. The line is gone afterwards, and nothing is shown where standard
/// error is no terminal.
pub(super) fn watch<T>(
    line: ProgressBar,
    mut show: impl FnMut(&ProgressBar) + Send,
    work: impl FnOnce() -> T,
) -> T {
    if line.is_hidden() {
        return work();
    }
    thread::scope(|scope| {
        // Closed when the work is done, also by a panic.
        let (_working, done) = mpsc::channel::<()>();
        scope.spawn(move || {
            while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                show(&line);
            }
            line.finish_and_clear();
        });
        work()
    })
}

/// Hashes a second of late, by a count that grows.
#[derive(Debug)]
pub(super) struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// Begins now, where the count is this.
    pub(super) fn from(hashes: u64) -> Self {
        Self([(Instant::now(), hashes)].into())
    }

    /// The rate after another look at the count.
    pub(super) fn after(&mut self, hashes: u64) -> f64 {
        let now = Instant::now();
        self.0.push_back((now, hashes));
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        let (since, before) = self.0[0];
        let seconds = (now - since).as_secs_f64().max(1e-9);
        hashes.saturating_sub(before) as f64 / seconds
    }
}

/// A number in three digits and its unit, such as `31.2 MH`.
pub(super) fn hashes(count: f64) -> String {
    let (divisor, unit) = match count {
        ..1e3 => (1.0, "H"),
        ..1e6 => (1e3, "kH"),
        ..1e9 => (1e6, "MH"),
        ..1e12 => (1e9, "GH"),
        _ => (1e12, "TH"),
    };
    format!("{} {unit}", three_digits(count / divisor))
}

/// Seconds in three digits, such as `0.43 s`, or smaller units of them.
pub(super) fn seconds(seconds: f64) -> String {
    let (factor, unit) = match seconds {
        ..1e-3 => (1e6, "µs"),
        ..1.0 => (1e3, "ms"),
        _ => (1.0, "s"),
    };
    format!("{} {unit}", three_digits(seconds * factor))
}

fn three_digits(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let counts = [0.0, 999.0, 31_234_567.0, 9.876e9, 2e15];
        assert_eq!(
            counts.map(hashes),
            ["0.00 H", "999 H", "31.2 MH", "9.88 GH", "2000 TH"]
        );
        let times = [0.000_25, 0.043, 1.344, 137.4, 12_345.6];
        assert_eq!(
            times.map(seconds),
            ["250 µs", "43.0 ms", "1.34 s", "137 s", "12346 s"]
        );
    }

    #[test]
    fn names_stay_whole_where_other_columns_are_broken() {
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

    /// What `bench` prints of a card.
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
    fn figures_are_never_broken() {
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
    fn where_no_table_fits_there_are_lines() {
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

    #[test]
    fn the_pace_is_that_of_the_last_counts() {
        let mut pace = Pace::from(1_000_000);
        thread::sleep(Duration::from_millis(1));
        let rate = pace.after(1_000_100);
        assert!(rate > 0.0 && rate <= 100_000.0, "{rate}");
        for _ in 0..WINDOW {
            pace.after(1_000_100);
        }
        assert_eq!(pace.after(1_000_100), 0.0);
    }
}
