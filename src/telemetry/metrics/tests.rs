use super::*;

fn lines_of_nano(metrics: &Metrics) -> Vec<String> {
    let page = metrics.prometheus().unwrap();
    let lines = page
        .lines()
        .filter(|line| line.contains("network=\"NANO\""));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_server_for_atto_alone_has_no_series_of_nano() {
    let metrics = Metrics::new();
    metrics.observe_pace(1e6, None);
    assert!(lines_of_nano(&metrics).is_empty());
}

#[test]
fn nano_is_one_more_network_once_it_is_served() {
    let metrics = Metrics::new();
    metrics.begin_nano(Difficulty::NANO_RECEIVE);
    // Only the first call counts.
    metrics.begin_nano(Difficulty::NANO_SEND);
    let count_of = |name: &str| {
        let lines = lines_of_nano(&metrics);
        let of_it = lines.iter().filter(|line| line.starts_with(name));
        of_it.count()
    };
    assert_eq!(
        count_of("atto_work_requests_total"),
        Outcome::OF_UNDERSTOOD.len()
    );
    // 2^23 hashes on average.
    metrics.observe_pace(2_f64.powi(24), None);
    let expected = lines_of_nano(&metrics);
    let expected = expected
        .iter()
        .find(|line| line.starts_with("atto_work_expected_solve_seconds"));
    assert!(expected.unwrap().ends_with(" 0.5"), "{expected:?}");
    metrics.search_ended(
        AnyNetwork::Nano,
        Duration::ZERO,
        Duration::from_secs(1),
        None,
    );
    metrics.request_ended(
        Some(AnyNetwork::Nano),
        Outcome::Ok,
        Duration::from_secs(1),
        None,
    );
    let lines = lines_of_nano(&metrics);
    for name in [
        "atto_work_solve_seconds_count",
        "atto_work_request_seconds_count",
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(" 1"), "{line}");
    }
}
