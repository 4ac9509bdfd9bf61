//! The reference hash, from a library: the oracle for every device.

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest as _};

use super::values::{Digest, Nonce, Target};

/// Blake2b (RFC 7693) with a digest of eight bytes and no key, over `nonce ‖ target`.
///
/// ```
/// use atto_work_server::work::{Digest, Nonce, Target, digest};
///
/// let nonce: Nonce = "576887B000000000".parse()?;
/// assert_eq!(digest(nonce, &Target::new([0; 32])), Digest::new(5_029_785_218));
/// # Ok::<(), atto_work_server::work::InvalidRequest>(())
/// ```
pub fn digest(nonce: Nonce, target: &Target) -> Digest {
    let hash = Blake2b::<U8>::new()
        .chain_update(nonce.to_bytes())
        .chain_update(target.as_bytes())
        .finalize();
    Digest::new(u64::from_le_bytes(hash.into()))
}
