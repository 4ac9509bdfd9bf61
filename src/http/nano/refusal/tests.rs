use std::time::Duration;

use super::*;
use crate::scheduler::SolveError;

/// An error that a node cannot fix by another request gets 200, so that the node asks again later.
#[test]
fn a_request_that_is_right_and_fails_gets_200() {
    let deadline = SolveError::Deadline(Duration::from_secs(1));
    let full = SolveError::QueueFull {
        room_in: Some(Duration::from_secs(7)),
    };
    let cases = [
        (Refusal::Cancelled, None),
        (Refusal::TooHard, None),
        (Problem::KeyBusy { limit: 1 }.into(), Some("1")),
        (Problem::Overloaded.into(), Some("1")),
        (Problem::from(full).into(), Some("7")),
        (Problem::from(deadline).into(), None),
        (Problem::from(SolveError::NoDevice).into(), Some("1")),
        (Problem::from(SolveError::Closed).into(), Some("1")),
    ];
    for (refusal, retry_after) in cases {
        let response = refusal.response();
        assert_eq!(response.status(), 200, "{refusal:?}");
        let header = response.headers().get("retry-after");
        let header = header.map(|value| value.to_str().unwrap());
        assert_eq!(header, retry_after, "{refusal:?}");
    }
}

#[test]
fn a_request_that_is_wrong_gets_its_status() {
    let member = InvalidRequest::Multiplier("x".to_owned());
    let cases = [
        (Refusal::Json(String::new()), 400),
        (Refusal::Action, 400),
        (Refusal::Member(member), 400),
        (Refusal::Version, 400),
        (Refusal::Origin, 403),
        (Problem::KeyMissing.into(), 401),
        (Problem::KeyUnknown.into(), 401),
        (Problem::BodyTooLarge { limit: 1 }.into(), 413),
        (Problem::BodyTimeout(Duration::ZERO).into(), 408),
        (Problem::BodyBroken.into(), 400),
        (Problem::InvalidHost("").into(), 400),
        (Problem::Internal.into(), 500),
    ];
    for (refusal, status) in cases {
        assert_eq!(refusal.response().status(), status, "{refusal:?}");
        assert!(refusal.refused().is_some(), "{refusal:?}");
    }
}
