//! The protocol's values against the conformance vectors. Any implementation can use those: they are plain
//! JSON, made with another language's Blake2b.

use crate::conformance::{number, vectors};
use atto_work_server::work::{Digest, Network, Nonce, Target, Threshold, Timestamp, Work, digest};

#[test]
fn thresholds() {
    let vectors = vectors().thresholds;
    for vector in &vectors {
        let (network, timestamp) = (
            vector.network.parse().unwrap(),
            Timestamp::from_millis(vector.timestamp).unwrap(),
        );
        assert_eq!(
            Threshold::required(network, timestamp),
            Threshold::new(number(&vector.threshold)),
            "{vector:?}"
        );
    }
    assert_eq!(vectors.len(), 44);
}

#[test]
fn hashes() {
    let vectors = vectors().hashes;
    for vector in &vectors {
        let (nonce, target) = (
            Nonce::new(number(&vector.nonce)),
            vector.target.parse().unwrap(),
        );
        assert_eq!(nonce.to_string(), vector.work);
        assert_eq!(vector.work.parse(), Ok(nonce));
        assert_eq!(
            digest(nonce, &target),
            Digest::new(number(&vector.digest)),
            "{vector:?}"
        );
    }
    assert_eq!(vectors.len(), 24);
}

#[test]
fn searches() {
    let vectors = vectors().searches;
    for vector in &vectors {
        let (nonce, target): (Nonce, Target) =
            (vector.work.parse().unwrap(), vector.target.parse().unwrap());
        assert_eq!(nonce.get(), number(&vector.nonce));
        assert_eq!(digest(nonce, &target), Digest::new(number(&vector.digest)));
        let work = Work::verify(nonce, &target, Threshold::new(number(&vector.threshold)));
        assert_eq!(
            work.map(|work| work.to_string()).as_ref(),
            Some(&vector.work)
        );
    }
    assert_eq!(vectors.len(), 6);
}

#[test]
fn published() {
    let vectors = vectors().published;
    for vector in &vectors {
        let network: Network = vector.network.parse().unwrap();
        let threshold =
            Threshold::required(network, Timestamp::from_millis(vector.timestamp).unwrap());
        let work = Work::verify(
            vector.work.parse().unwrap(),
            &vector.target.parse().unwrap(),
            threshold,
        );
        assert_eq!(work.is_some(), vector.valid, "{vector:?}");
    }
    assert_eq!(vectors.len(), 3);
}
