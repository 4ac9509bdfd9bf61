//! Log lines of requests that got an error response.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use super::head::Head;
use crate::problem::Refused;

/// How many lines a second: any client can cause them.
const LINES: u32 = 10;

/// Logs error responses, with a limit. The others of a second are counted in the next line.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
    /// How many were not logged since the last line.
    left_out: u64,
}

impl Refusals {
    /// Logs the error response to a request. The line has nothing of the request but its id, which was checked.
    pub(super) fn log(&self, head: &Head, refused: Refused, status: StatusCode) {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = second.admit(Instant::now());
        drop(second);
        if let Some(left_out) = admitted {
            let left_out = (left_out > 0).then_some(left_out);
            let (code, status) = (refused.code, status.as_u16());
            tracing::info!(request_id = %head.id, code, status, left_out, "request refused");
        }
    }
}

impl Second {
    /// How many were left out before, if another line may be logged now.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let is_over = |began| now.duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_ten_lines_and_the_next_counts_the_rest() {
        let mut second = Second::default();
        let now = Instant::now();
        for _ in 0..LINES {
            assert_eq!(second.admit(now), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(second.admit(now + Duration::from_millis(999)), None);
        }
        assert_eq!(second.admit(now + Duration::from_secs(1)), Some(3));
        assert_eq!(second.admit(now + Duration::from_secs(1)), Some(0));
    }
}
