//! The protocol: its values, and the rules that make them valid.
//!
//! A value of these types is always valid: a [`Target`] is 32 bytes, a [`Timestamp`] has a threshold, the reference hash has
//! verified a [`Work`]. Nothing in this module does input or output, and nothing in it knows a device or a wire format.
//!
//! The rules are those of the Atto reference implementation (`AttoWork`, `AttoNetwork` and `AttoWorkTarget` of
//! attocash/commons). Nano's and Banano's work is the same hash under the opposite comparison (`nano`, [`Rule`]).

mod blake2b;
mod invalid;
mod nano;
mod network;
mod request;
mod rule;
mod values;

pub use blake2b::digest;
pub use invalid::{InvalidRequest, MAX_AHEAD};
pub use nano::{Difficulty, Multiplier, NanoWork, parse_root};
pub use network::{AnyNetwork, Network, Timestamp};
pub use request::{Work, WorkRequest};
pub use rule::Rule;
pub use values::{Digest, Nonce, Target, Threshold};
