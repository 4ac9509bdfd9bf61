//! The answers on the wire. Every value is a string.

use serde::Serialize;

use crate::scheduler::Status;
use crate::work::{Difficulty, Digest, NanoWork, Target, Work, digest};

/// The answer to `work_generate`.
#[derive(Debug, Serialize)]
pub(super) struct Generated {
    work: String,
    /// The value that the work reaches, which is at least what was asked for.
    difficulty: String,
    /// The multiplier of that value.
    multiplier: String,
    hash: String,
}

impl Generated {
    pub(super) fn new(root: &Target, work: Work, base: Difficulty) -> Self {
        let reached = Difficulty::from(digest(work.nonce(), root));
        Self {
            work: NanoWork::from(work.nonce()).to_string(),
            difficulty: reached.to_string(),
            multiplier: reached.multiplier(base).to_string(),
            hash: root.to_string(),
        }
    }
}

/// The answer to `work_validate`.
#[derive(Debug, Serialize)]
pub(super) struct Validated {
    /// Whether the work is valid for every block.
    valid_all: &'static str,
    /// Whether it is valid for a block that needs least.
    valid_receive: &'static str,
    /// Whether it is valid under the difficulty that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<&'static str>,
    difficulty: String,
    multiplier: String,
}

impl Validated {
    /// The answer for a work whose value is `digest`.
    pub(super) fn new(digest: Digest, base: Difficulty, asked: Option<Difficulty>) -> Self {
        let reached = Difficulty::from(digest);
        let meets = |difficulty| flag(reached >= difficulty);
        Self {
            valid_all: meets(base),
            valid_receive: meets(base.min(Difficulty::NANO_RECEIVE)),
            valid: asked.map(meets),
            difficulty: reached.to_string(),
            multiplier: reached.multiplier(base).to_string(),
        }
    }
}

/// The answer to `work_cancel`, whether there was a search or not.
#[derive(Debug, Serialize)]
pub(super) struct Cancelled {
    success: &'static str,
}

impl Cancelled {
    pub(super) const fn new() -> Self {
        Self { success: "" }
    }
}

/// The answer to `status`. It counts the searches of all networks, since they share the devices.
#[derive(Debug, Serialize)]
pub(super) struct Busy {
    /// Whether a search runs.
    generating: &'static str,
    /// How many searches wait for a slot.
    queue_size: String,
}

impl Busy {
    pub(super) fn new(status: &Status) -> Self {
        Self {
            generating: flag(status.running > 0),
            queue_size: status.waiting.to_string(),
        }
    }
}

const fn flag(is_so: bool) -> &'static str {
    if is_so { "1" } else { "0" }
}
