use super::*;

#[test]
fn a_pending_open_lasts_until_it_ends_or_for_a_number_of_turns() {
    let mut pending = PendingOpens::default();
    let (first, second) = (pending.begin(), pending.begin());
    pending.end(first);
    assert!(!pending.is_empty());
    pending.end(second);
    assert!(pending.is_empty());
    pending.begin();
    pending.age(2);
    assert!(!pending.is_empty());
    pending.age(2);
    assert!(pending.is_empty());
}
