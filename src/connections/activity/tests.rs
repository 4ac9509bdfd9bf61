use std::num::NonZeroUsize;

use tokio::time::advance;

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    open: NonZeroUsize::MIN,
    header: Duration::from_secs(10),
    body: Duration::from_secs(20),
    idle: Duration::from_secs(75),
    age: Duration::from_secs(30),
};

/// A request without a body begins, and finds no shared place.
fn begin(activity: &Activity, version: Version) -> Exchange {
    activity.begin(version, Some(0), &Arc::new(Semaphore::new(0)))
}

/// In how many seconds the connection becomes overdue, and why.
fn due(activity: &Activity, draining_since: Option<Instant>) -> Option<(u64, Overdue)> {
    let (deadline, what) = activity.deadline(&LIMITS, draining_since)?;
    Some(((deadline - Instant::now()).as_secs(), what))
}

#[tokio::test(start_paused = true)]
async fn a_head_is_due_from_its_first_byte() {
    let activity = Activity::start();
    advance(Duration::from_secs(5)).await;
    assert_eq!(due(&activity, None), Some((70, Overdue::Idle)));
    activity.give(b"P");
    advance(Duration::from_secs(4)).await;
    activity.give(b"O");
    assert_eq!(due(&activity, None), Some((6, Overdue::Header)));
    let request = begin(&activity, Version::HTTP_11);
    assert_eq!(due(&activity, None), None);
    assert!(!activity.may_give());
    assert_eq!(activity.give(b"the next head"), 0);
    assert_eq!(due(&activity, None), None);
    drop(request);
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
    activity.give(b"the next head");
    assert_eq!(due(&activity, None), Some((10, Overdue::Header)));
}

#[tokio::test(start_paused = true)]
async fn http_2_frames_are_no_heads() {
    let activity = Activity::start();
    activity.give(&PREFACE[..1]);
    assert_eq!(due(&activity, None), Some((10, Overdue::Header)));
    let mut rest = &[&PREFACE[1..], b"frames"].concat()[..];
    while !rest.is_empty() {
        rest = &rest[activity.give(rest)..];
    }
    assert!(activity.is_http2());
    activity.give(b"more frames");
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn a_response_must_be_read_in_time() {
    let activity = Activity::start();
    let mut requests = [(); 2].map(|()| begin(&activity, Version::HTTP_2));
    for request in &mut requests {
        request.respond();
    }
    advance(Duration::from_secs(15)).await;
    assert_eq!(due(&activity, None), Some((5, Overdue::Unread)));
    let [first, second] = requests;
    drop(first);
    assert_eq!(due(&activity, None), Some((20, Overdue::Unread)));
    drop(second);
    activity.wrote(false);
    assert_eq!(due(&activity, None), Some((20, Overdue::Unread)));
    activity.wrote(true);
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn an_unread_response_becomes_overdue_although_others_are_read() {
    let activity = Activity::start();
    let mut stuck = begin(&activity, Version::HTTP_2);
    stuck.respond();
    for _ in 0..14 {
        advance(Duration::from_secs(5)).await;
        begin(&activity, Version::HTTP_2).respond();
    }
    // 75 s from the response, of which 70 are over.
    assert_eq!(due(&activity, None), Some((5, Overdue::Unread)));
    drop(stuck);
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn a_head_behind_a_chunked_body_is_due_from_the_end_of_its_exchange() {
    let activity = Activity::start();
    activity.give(b"POST / HTTP/1.1\r\n\r\n");
    let request = activity.begin(Version::HTTP_11, None, &Arc::new(Semaphore::new(0)));
    activity.give(b"0\r\n\r\nGET / HT");
    advance(Duration::from_secs(30)).await;
    drop(request);
    advance(Duration::from_secs(4)).await;
    assert_eq!(due(&activity, None), Some((6, Overdue::Header)));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_hyper_has_buffered_is_not_idle() {
    let activity = Activity::start();
    assert!(activity.is_idle());
    let mut request = begin(&activity, Version::HTTP_11);
    request.respond();
    assert!(!activity.is_idle());
    activity.wrote(false);
    drop(request);
    assert!(!activity.is_idle());
    // The client takes some of it every few seconds, but not all of it in time.
    for _ in 0..14 {
        advance(Duration::from_secs(5)).await;
        activity.wrote(true);
        activity.wrote(false);
    }
    assert_eq!(due(&activity, None), Some((5, Overdue::Unread)));
    activity.wrote(true);
    assert!(activity.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_one_place_of_its_own_and_shares_the_others() {
    let activity = Activity::start();
    let shared = Arc::new(Semaphore::new(1));
    let begin = || activity.begin(Version::HTTP_2, None, &shared);
    let [own, shared, none] = [begin(), begin(), begin()];
    let places = [&own, &shared, &none].map(Exchange::has_place);
    assert_eq!(places, [true, true, false]);
    drop(none);
    assert!(!begin().has_place());
    drop(shared);
    assert!(begin().has_place());
    drop(own);
    assert!([begin(), begin()].iter().all(Exchange::has_place));
}

#[tokio::test(start_paused = true)]
async fn while_draining_only_a_search_keeps_its_full_time() {
    let activity = Activity::start();
    advance(Duration::from_secs(5)).await;
    let draining_since = Some(Instant::now());
    let (deadline, _) = activity.deadline(&LIMITS, draining_since).unwrap();
    assert_eq!(deadline - Instant::now(), IN_FLIGHT);
    activity.give(b"P");
    assert_eq!(due(&activity, draining_since), Some((1, Overdue::Header)));
    let _request = begin(&activity, Version::HTTP_11);
    assert_eq!(due(&activity, draining_since), None);
}

#[tokio::test(start_paused = true)]
async fn only_many_abandoned_requests_within_a_second_are_too_many() {
    let activity = Activity::start();
    for _ in 0..3 {
        advance(Duration::from_millis(1001)).await;
        for _ in 0..RESETS {
            drop(begin(&activity, Version::HTTP_2));
        }
    }
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
    drop(begin(&activity, Version::HTTP_2));
    assert_eq!(
        activity.deadline(&LIMITS, None).map(|(_, what)| what),
        Some(Overdue::Resets)
    );
}
