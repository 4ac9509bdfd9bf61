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
    activity.read(b"P");
    advance(Duration::from_secs(4)).await;
    activity.read(b"O");
    assert_eq!(due(&activity, None), Some((6, Overdue::Header)));
    let request = activity.begin(Version::HTTP_11);
    assert_eq!(due(&activity, None), None);
    activity.read(b"a body, or the next head");
    assert_eq!(due(&activity, None), None);
    drop(request);
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn http_2_frames_are_no_heads() {
    let activity = Activity::start();
    activity.read(&PREFACE[..1]);
    assert_eq!(due(&activity, None), Some((10, Overdue::Header)));
    activity.read(&[&PREFACE[1..], b"frames"].concat());
    assert!(activity.is_http2());
    activity.read(b"more frames");
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn a_response_must_be_read_in_time() {
    let activity = Activity::start();
    let mut requests = [(); 2].map(|()| activity.begin(Version::HTTP_2));
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
    let mut stuck = activity.begin(Version::HTTP_2);
    assert!(activity.awaits_response());
    stuck.respond();
    assert!(activity.is_busy() && !activity.awaits_response());
    for _ in 0..14 {
        advance(Duration::from_secs(5)).await;
        activity.begin(Version::HTTP_2).respond();
    }
    // 75 s from the response, of which 70 are over.
    assert_eq!(due(&activity, None), Some((5, Overdue::Unread)));
    drop(stuck);
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
}

#[tokio::test(start_paused = true)]
async fn draining_leaves_everything_but_a_search_little_time() {
    let activity = Activity::start();
    advance(Duration::from_secs(5)).await;
    let draining_since = Some(Instant::now());
    let (deadline, _) = activity.deadline(&LIMITS, draining_since).unwrap();
    assert_eq!(deadline - Instant::now(), IN_FLIGHT);
    activity.read(b"P");
    assert_eq!(due(&activity, draining_since), Some((1, Overdue::Header)));
    let _request = activity.begin(Version::HTTP_11);
    assert_eq!(due(&activity, draining_since), None);
}

#[tokio::test(start_paused = true)]
async fn only_many_abandoned_requests_within_a_second_are_too_many() {
    let activity = Activity::start();
    for _ in 0..3 {
        advance(Duration::from_millis(1001)).await;
        for _ in 0..RESETS {
            drop(activity.begin(Version::HTTP_2));
        }
    }
    assert_eq!(due(&activity, None), Some((75, Overdue::Idle)));
    drop(activity.begin(Version::HTTP_2));
    assert_eq!(
        activity.deadline(&LIMITS, None).map(|(_, what)| what),
        Some(Overdue::Resets)
    );
}
