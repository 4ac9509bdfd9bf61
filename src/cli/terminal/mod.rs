//! What the commands show to people.

mod progress;
mod table;
mod units;

pub(super) use progress::{Pace, watch};
pub(super) use table::{Column, figures, table};
pub(super) use units::{hashes, seconds};
