//! Tables that fit the terminal: columns with nothing around them, the least important left out
//! first.

use std::io::IsTerminal;

use comfy_table::{ColumnConstraint, Table as Grid, presets};
use rustix::termios::tcgetwinsize;

/// Between two columns.
const GAP: u16 = 2;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    header: &'static str,
    /// Where there is no room, the highest rank goes first. 0 stays, though the line be too long.
    rank: u8,
}

impl Column {
    pub(crate) const fn needed(header: &'static str) -> Self {
        Self { header, rank: 0 }
    }

    pub(crate) const fn spare(rank: u8, header: &'static str) -> Self {
        Self { header, rank }
    }
}

/// How long a line may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Any,
    AtMost(usize),
}

impl Width {
    /// What was asked for, or else what the terminal has.
    pub(crate) fn or_of_terminal(asked: Option<u16>) -> Self {
        asked
            .or_else(of_terminal)
            .map_or(Self::Any, |w| Self::AtMost(w.into()))
    }
}

fn of_terminal() -> Option<u16> {
    let out = std::io::stdout();
    // A file and a pipe have no edge, whatever a shell has exported about its terminal.
    if !out.is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let has = || tcgetwinsize(&out).ok().map(|size| size.ws_col);
    // Serial lines and some containers say 0, which is that they do not know.
    said.filter(|w| *w > 0).or_else(has).filter(|w| *w > 0)
}

/// A table, and the headers of what was left out of it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) left_out: Vec<&'static str>,
}

impl Table {
    pub(crate) fn new(columns: &[Column], rows: Vec<Vec<String>>, width: Width) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_header(columns.iter().map(|c| c.header));
        grid.add_rows(rows);
        let rank = highest_rank(columns, &grid.column_max_content_widths(), width);
        for (column, drawn) in columns.iter().zip(grid.column_iter_mut()) {
            drawn.set_padding((0, GAP));
            if column.rank > rank {
                drawn.set_constraint(ColumnConstraint::Hidden);
            }
        }
        let text = grid.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let left_out = columns.iter().filter(|c| c.rank > rank);
        Self {
            text: lines.join("\n"),
            left_out: left_out.map(|c| c.header).collect(),
        }
    }
}

/// The highest rank that there is room for, beside all that is lower.
fn highest_rank(columns: &[Column], widths: &[u16], width: Width) -> u8 {
    let mut rank = columns.iter().map(|c| c.rank).max().unwrap_or(0);
    let Width::AtMost(width) = width else {
        return rank;
    };
    let taken = |rank: u8| -> usize {
        let kept = columns.iter().zip(widths).filter(|(c, _)| c.rank <= rank);
        kept.map(|(_, w)| usize::from(w + GAP)).sum()
    };
    // No gap follows the last one.
    while rank > 0 && taken(rank) > width + usize::from(GAP) {
        rank -= 1;
    }
    rank
}
