//! The protocol's values against the conformance vectors. Any implementation can use those: they are plain
//! JSON, made with another language's Blake2b.

use crate::conformance::{number, vectors};
use atto_work_server::work::{
    Difficulty, Digest, NanoWork, Network, Nonce, Target, Threshold, Timestamp, Work, digest,
    parse_root,
};

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
        let work = Work::verify(
            nonce,
            &target,
            Threshold::new(number(&vector.threshold)).into(),
        );
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
            threshold.into(),
        );
        assert_eq!(work.is_some(), vector.valid, "{vector:?}");
    }
    assert_eq!(vectors.len(), 3);
}

#[test]
fn nano() {
    let vectors = vectors().nano;
    for vector in &vectors {
        let root = parse_root(&vector.root).unwrap();
        let work: NanoWork = vector.work.parse().unwrap();
        assert_eq!(work.to_string(), vector.work);
        let reached = Difficulty::from(digest(work.nonce(), &root));
        assert_eq!(reached.to_string(), vector.value);
        let difficulty: Difficulty = vector.difficulty.parse().unwrap();
        assert_eq!(difficulty.to_string(), vector.difficulty);
        assert!(Work::verify(work.nonce(), &root, difficulty.into()).is_some());
        // The same bound as a threshold is Atto's rule, under which this is no work.
        let threshold = Threshold::new(difficulty.get() - 1);
        assert!(Work::verify(work.nonce(), &root, threshold.into()).is_none());
    }
    assert_eq!(vectors.len(), 22);
}
