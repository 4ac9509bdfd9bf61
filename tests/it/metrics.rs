//! What `/metrics` says: known requests give exact counts, the page is what Prometheus reads, and the manual in
//! `src/telemetry/metrics/mod.rs` is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::devices::{Service, fake, honest, patient, unlucky};
use crate::support::http::{
    Response, connect, exchange, get, get_as, post_works, read, request as bytes,
    without_application, works,
};
use crate::support::{Server, assert_work, eventually, key_entry, request, target};
use atto_work_server::device::{Device, DeviceError};
use atto_work_server::scheduler::DeviceState;
use atto_work_server::work::{Network, Threshold, Timestamp};
use serde_json::Value;

/// The upper bounds of every histogram's buckets, as they are written.
const BUCKETS: [&str; 22] = [
    "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
    "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "120", "300", "600", "+Inf",
];

const COUNT: &str = "http_server_requests_seconds_count";

type Labels = BTreeMap<String, String>;

/// A family of the page.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// The name with its suffix, the labels and the value of each line.
    samples: Vec<(String, Labels, f64)>,
}

/// The page, by the names of its families. Fails where it is not in Prometheus's text format.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            let family = Family {
                help: help.to_owned(),
                ..Family::default()
            };
            assert!(families.insert(current.clone(), family).is_none(), "{line}");
            continue;
        }
        let family = families.get_mut(&current).expect("help comes first");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            family.kind = kind.to_owned();
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        // No label here has a comma or a quote in it, but in the names of devices and features: so part at the quotes.
        let parts: Vec<_> = labels.split('"').collect();
        let labels = parts.chunks_exact(2).map(|pair| {
            let name = pair[0].trim_start_matches(',').trim_end_matches('=');
            (name.to_owned(), pair[1].to_owned())
        });
        let mut labels: Labels = labels.collect();
        assert_eq!(
            labels.remove("application").as_deref(),
            Some("atto-work-server"),
            "{line}"
        );
        let suffix = name.strip_prefix(current.as_str()).expect(line);
        let suffixes: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "counter" | "gauge" => &[""],
            "summary" => &["_sum", "_count"],
            kind => panic!("{current} is a {kind}"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let value = value.parse().expect("a number");
        family.samples.push((name.to_owned(), labels, value));
    }
    families
}

/// The labels of a sample as the page writes them, in the order of their names.
fn written(labels: &Labels) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    labels.join(",")
}

/// The samples of this name that are not zero, by their labels.
fn counts(page: &str, name: &str) -> BTreeMap<String, f64> {
    let families = families(page);
    let samples = families.values().flat_map(|family| &family.samples);
    samples
        .filter(|(sample, _, value)| sample == name && *value != 0.0)
        .map(|(_, labels, value)| (written(labels), *value))
        .collect()
}

fn expected<const N: usize>(counts: [(&str, f64); N]) -> BTreeMap<String, f64> {
    counts
        .map(|(labels, count)| (labels.to_owned(), count))
        .into()
}

/// Spring's labels of a request.
fn spring(method: &str, outcome: &str, status: &str, uri: &str) -> String {
    let error = match status {
        "400" => "ServerWebInputException",
        "404" => "NoResourceFoundException",
        "405" => "MethodNotAllowedException",
        _ => "none",
    };
    format!(
        "error={error:?},exception={error:?},method={method:?},outcome={outcome:?},status={status:?},uri={uri:?}"
    )
}

/// The service in this process with these devices, once they serve.
fn serving(devices: Vec<Device>) -> Service {
    let service = Service::start(devices, None);
    eventually("it is ready", || {
        get(service.management, "/health/readiness").status == 200
    });
    service
}

fn metrics(management: SocketAddr) -> String {
    get(management, "/metrics").body
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Response {
    exchange(address, &bytes(method, path, headers, body))
}

fn verify(address: SocketAddr, request: &Value, work: &str) -> Response {
    let mut body = request.clone();
    body["work"] = work.into();
    send(address, "POST", "/works/verify", "", &body.to_string())
}

#[test]
fn known_requests_are_counted_exactly() {
    let server = Server::on_cpu(&["--threads", "1", "--kernel", "portable"]);
    let (address, management) = (server.address, server.management);
    let local = request("LOCAL", &target(1));
    let found = post_works(address, &local.to_string());
    assert_work(&found, &local);
    // The repeated request is answered from the cache.
    assert_eq!(post_works(address, &local.to_string()).body, found.body);
    for number in 2..5 {
        let other = request("LOCAL", &target(number));
        assert_work(&post_works(address, &other.to_string()), &other);
    }
    for body in ["{}", "[", "{\"network\":\"NOWHERE\"}"] {
        assert_eq!(post_works(address, body).status, 400);
    }
    let work = found.json()["work"].as_str().unwrap().to_owned();
    assert_eq!(verify(address, &local, &work).json()["valid"], true);
    assert_eq!(
        verify(address, &local, "0000000000000000").json()["valid"],
        false
    );
    assert_eq!(verify(address, &local, "").status, 400);
    assert_eq!(get(address, "/works").status, 405);
    assert_eq!(send(address, "BREW", "/works", "", "").status, 405);
    assert_eq!(get(address, "/works/nowhere").status, 404);
    assert_eq!(get(address, "/openapi.json").status, 200);
    assert_eq!(get(address, "/v3/api-docs").status, 200);
    // Two that search, of which one joins the other, and leave.
    let live = request("LIVE", &target(9)).to_string();
    let clients = [(); 2].map(|()| {
        let mut client = connect(address);
        client.write_all(works(&live).as_bytes()).unwrap();
        client
    });
    eventually("one has joined the other", || {
        server.metric("atto_work_coalesced_total") == 1.0
    });
    drop(clients);
    let cancelled = "atto_work_requests_total{network=\"LIVE\",outcome=\"cancelled\"}";
    let abandoned = format!(
        "{COUNT}{{{}}}",
        spring("POST", "UNKNOWN", "UNKNOWN", "/works")
    );
    eventually("both have left", || {
        server.metric(cancelled) == 2.0 && server.metric(&abandoned) == 2.0
    });

    let page = metrics(management);
    let requests = expected([
        ("network=\"LIVE\",outcome=\"cancelled\"", 2.0),
        ("network=\"LOCAL\",outcome=\"ok\"", 5.0),
        ("network=\"none\",outcome=\"invalid\"", 3.0),
    ]);
    assert_eq!(counts(&page, "atto_work_requests_total"), requests);
    assert_eq!(counts(&page, "atto_work_request_seconds_count"), requests);
    let searched = expected([("network=\"LOCAL\"", 4.0)]);
    assert_eq!(counts(&page, "atto_work_wait_seconds_count"), searched);
    assert_eq!(counts(&page, "atto_work_solve_seconds_count"), searched);
    let verified = expected([
        ("network=\"LOCAL\",outcome=\"ok\"", 2.0),
        ("network=\"none\",outcome=\"invalid\"", 1.0),
    ]);
    assert_eq!(counts(&page, "atto_work_verifications_total"), verified);
    assert_eq!(
        counts(&page, "atto_work_coalesced_total"),
        expected([("", 1.0)])
    );
    assert_eq!(
        counts(&page, "atto_work_remembered_total"),
        expected([("", 1.0)])
    );
    assert_eq!(counts(&page, "atto_work_device_faults_total"), expected([]));
    let http = [
        (spring("POST", "SUCCESS", "200", "/works"), 5.0),
        (spring("POST", "CLIENT_ERROR", "400", "/works"), 3.0),
        (spring("POST", "UNKNOWN", "UNKNOWN", "/works"), 2.0),
        (spring("GET", "CLIENT_ERROR", "405", "/works"), 1.0),
        (spring("UNKNOWN", "CLIENT_ERROR", "405", "/works"), 1.0),
        (spring("POST", "SUCCESS", "200", "/works/verify"), 2.0),
        (spring("POST", "CLIENT_ERROR", "400", "/works/verify"), 1.0),
        (spring("GET", "CLIENT_ERROR", "404", "/**"), 1.0),
        (spring("GET", "SUCCESS", "200", "/openapi.json"), 2.0),
    ];
    assert_eq!(counts(&page, COUNT), BTreeMap::from(http));
    assert_histograms(&page);
    // Each kind of request has its longest, which its histogram has too.
    let longest = counts(&page, "http_server_requests_seconds_max");
    let sums = counts(&page, "http_server_requests_seconds_sum");
    assert_eq!(longest.len(), 9);
    for (labels, longest) in longest {
        // The longest is rounded to single precision.
        assert!(longest <= sums[&labels] * 1.000_001, "{labels}");
    }
    let total = &counts(&page, "atto_work_request_seconds_sum");
    let parts = |name| counts(&page, name)["network=\"LOCAL\""];
    let parts = parts("atto_work_wait_seconds_sum") + parts("atto_work_solve_seconds_sum");
    assert!(
        parts > 0.0 && parts <= total["network=\"LOCAL\",outcome=\"ok\""],
        "{page}"
    );
}

#[test]
fn a_request_that_joins_a_search_has_waited_and_searched_too() {
    let (release, device) = patient();
    let service = serving(vec![device]);
    let request = request("LOCAL", &target(1));
    let clients = [(); 3].map(|()| {
        let mut client = connect(service.address);
        let text = works(&request.to_string());
        client.write_all(text.as_bytes()).unwrap();
        client
    });
    eventually("two have joined the first", || {
        get(service.management, "/metrics").metric("atto_work_coalesced_total") == 2.0
    });
    drop(release);
    for client in &clients {
        assert_work(&read(client, false), &request);
    }
    let page = metrics(service.management);
    let three = expected([("network=\"LOCAL\"", 3.0)]);
    assert_eq!(counts(&page, "atto_work_wait_seconds_count"), three);
    assert_eq!(counts(&page, "atto_work_solve_seconds_count"), three);
    assert_histograms(&page);
}

/// Fails unless every histogram of the page is one: the buckets of the manual, which never get fewer, and a count and
/// a sum that they allow.
fn assert_histograms(page: &str) {
    let mut looked_at = 0;
    for (name, family) in families(page) {
        if family.kind != "histogram" {
            continue;
        }
        let mut series = BTreeMap::<String, Vec<(String, f64)>>::new();
        let mut totals = BTreeMap::<(String, String), f64>::new();
        for (sample, mut labels, value) in family.samples {
            match labels.remove("le") {
                Some(bound) => series
                    .entry(written(&labels))
                    .or_default()
                    .push((bound, value)),
                None => {
                    totals.insert((sample, written(&labels)), value);
                }
            }
        }
        assert_eq!(totals.len(), 2 * series.len(), "{name}");
        for (labels, buckets) in series {
            let what = format!("{name}{{{labels}}}");
            let bounds: Vec<_> = buckets.iter().map(|(bound, _)| bound.as_str()).collect();
            assert_eq!(bounds, BUCKETS, "{what}");
            let count = totals[&(format!("{name}_count"), labels.clone())];
            let sum = totals[&(format!("{name}_sum"), labels)];
            assert_eq!(buckets[21].1, count, "{what}");
            let (mut least, mut most, mut below, mut lower) = (0.0, 0.0, 0.0, 0.0);
            for (bound, upto) in buckets {
                assert!(upto >= below, "{what}: {bound}");
                let upper: f64 = bound.replace("+Inf", "inf").parse().unwrap();
                if upto > below {
                    least += (upto - below) * lower;
                    most += (upto - below) * upper;
                }
                (below, lower) = (upto, upper);
            }
            assert!(least <= sum && sum <= most, "{what}: {least} {sum} {most}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 10, "{page}");
}

#[test]
fn both_paths_serve_the_same_and_nothing_else_does() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let pages = ["/metrics", "/prometheus"].map(|path| {
        let page = get(server.management, path);
        assert_eq!(page.status, 200);
        assert_eq!(
            page.header("content-type"),
            Some("text/plain; version=0.0.4")
        );
        let head = exchange(
            server.management,
            &format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n"),
        );
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), page.header("content-type"));
        let posted = send(server.management, "POST", path, "", "");
        assert_eq!(
            (posted.status, posted.header("allow")),
            (405, Some("GET, HEAD"))
        );
        // Not to clients.
        assert_eq!(get(server.address, path).status, 404);
        let samples = families(&page.body)
            .into_values()
            .flat_map(|family| family.samples);
        // The second page has been asked for when clients had asked for the first.
        samples
            .filter(|(name, ..)| !name.starts_with("http_server_requests"))
            .map(|(name, labels, _)| (name, written(&labels)))
            .collect::<BTreeSet<_>>()
    });
    assert_eq!(pages[0], pages[1]);
    assert!(pages[0].len() > 300, "{}", pages[0].len());
}

/// The rows of the manual: name, type, labels.
fn manual() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = include_str!("../../src/telemetry/metrics/mod.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, kind, labels, meaning, ""] = cells[..] else {
            panic!("not four columns: {row}");
        };
        assert!(!meaning.is_empty(), "{row}");
        let labels = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        (
            name.trim_matches('`').to_owned(),
            (kind.to_owned(), labels.collect()),
        )
    })
    .collect()
}

#[test]
fn the_manual_has_every_family_and_every_row_is_served() {
    let keys = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.keys");
    let key = "alice-has-this-key-0001";
    fs::write(&keys, key_entry("alice", key)).unwrap();
    let server = Server::on_cpu(&["--threads", "1", "--api-keys-file", keys.to_str().unwrap()]);
    let local = request("LOCAL", &target(1));
    let with_key = format!("authorization: Bearer {key}\r\n");
    let answer = send(
        server.address,
        "POST",
        "/works",
        &with_key,
        &local.to_string(),
    );
    assert_work(&answer, &local);
    assert_eq!(post_works(server.address, "{}").status, 401);

    // A device that was measured.
    let service = serving(vec![fake("card", unlucky)]);
    let mut served = families(&metrics(service.management));
    let page = metrics(server.management);
    // For `tests/run`, which has Prometheus's own tool look at it.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    fs::write(kept, &page).unwrap();
    served.append(&mut families(&page));
    let manual = manual();
    let names = served.keys().collect::<Vec<_>>();
    assert_eq!(names, manual.keys().collect::<Vec<_>>());
    for (name, family) in served {
        let (kind, labels) = &manual[&name];
        assert_eq!(family.kind, *kind, "{name}");
        assert!(family.help.ends_with('.'), "{name}");
        for (_, mut found, _) in family.samples {
            found.remove("le");
            assert_eq!(
                found.into_keys().collect::<BTreeSet<_>>(),
                *labels,
                "{name}"
            );
        }
    }
}

#[test]
fn series_with_known_labels_exist_before_their_first_event() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let page = metrics(server.management);
    let bare = without_application(&page);
    let zero = |sample: &str| {
        assert!(
            bare.contains(&format!("\n{sample} 0\n")),
            "{sample}: {page}"
        );
    };
    for network in Network::ALL {
        for outcome in [
            "ok",
            "cancelled",
            "queue_full",
            "no_device",
            "closed",
            "deadline",
        ] {
            zero(&format!(
                "atto_work_requests_total{{network=\"{network}\",outcome={outcome:?}}}"
            ));
        }
        zero(&format!(
            "atto_work_verifications_total{{network=\"{network}\",outcome=\"ok\"}}"
        ));
        zero(&format!(
            "atto_work_request_seconds_count{{network=\"{network}\",outcome=\"ok\"}}"
        ));
        zero(&format!(
            "atto_work_wait_seconds_count{{network=\"{network}\"}}"
        ));
        zero(&format!(
            "atto_work_solve_seconds_count{{network=\"{network}\"}}"
        ));
    }
    zero("atto_work_requests_total{network=\"none\",outcome=\"invalid\"}");
    zero("atto_work_device_faults_total{device=\"cpu\"}");
    zero("atto_work_device_rebuilds_total{device=\"cpu\",outcome=\"failed\"}");
    for reason in ["broken", "idle_timeout", "reset_flood"] {
        zero(&format!(
            "atto_work_connections_closed_total{{listener=\"public\",reason={reason:?}}}"
        ));
    }
    let build = counts(&page, "atto_work_build_info");
    let version = format!("version={:?}", env!("CARGO_PKG_VERSION"));
    assert_eq!(build.len(), 1);
    assert!(
        build.keys().all(|labels| labels.contains(&version)),
        "{build:?}"
    );
    for state in ["started", "ready"] {
        assert!(server.metric(&format!("application_{state}_time_seconds")) > 0.0);
    }
    zero("logback_events_total{level=\"error\"}");
    assert!(server.metric("logback_events_total{level=\"info\"}") >= 1.0);
    let uptime = server.metric("process_uptime_seconds");
    eventually("time passes", || {
        server.metric("process_uptime_seconds") > uptime
    });
}

#[test]
fn the_expected_time_of_a_current_work_follows_from_the_measured_rate() {
    let server = Server::on_cpu(&["--threads", "1"]);
    eventually("a rate is known", || {
        post_works(server.address, &request("LOCAL", &target(1)).to_string());
        server.metric("atto_work_hash_rate") > 0.0
    });
    let page = get(server.management, "/metrics");
    let rate = page.metric("atto_work_hash_rate");
    assert_eq!(
        page.metric("atto_work_device_hash_rate{device=\"cpu\"}"),
        rate
    );
    for network in Network::ALL {
        let hashes = Threshold::required(network, Timestamp::now()).expected_hashes();
        let seconds = page.metric(&format!(
            "atto_work_expected_solve_seconds{{network=\"{network}\"}}"
        ));
        assert!(
            (seconds * rate / hashes - 1.0).abs() < 1e-9,
            "{network}: {seconds}"
        );
    }
}

#[test]
fn nothing_is_expected_before_a_rate_is_known() {
    let mut device = fake("unknown", unlucky);
    device.info.trials.clear();
    let service = serving(vec![device]);
    let page = get(service.management, "/metrics");
    assert_eq!(
        page.metric("atto_work_device_hash_rate{device=\"unknown\"}"),
        0.0
    );
    let expected = page.metric("atto_work_expected_solve_seconds{network=\"LOCAL\"}");
    assert!(expected.is_nan(), "{page:?}");
}

/// The states that the page gives to a device, by their values.
fn states(service: &Service, device: &str) -> Vec<&'static str> {
    let page = get(service.management, "/metrics");
    let value = |state: DeviceState| {
        let labels = format!("{{device={device:?},state={:?}}}", state.as_str());
        let sample = format!("atto_work_device_state{labels}");
        let bare = without_application(&page.body);
        assert!(bare.contains(&format!("\n{sample} ")), "{sample}");
        page.metric(&sample)
    };
    let held = DeviceState::ALL
        .into_iter()
        .filter(|state| value(*state) == 1.0);
    let held: Vec<_> = held.map(DeviceState::as_str).collect();
    let total: f64 = DeviceState::ALL.into_iter().map(value).sum();
    assert_eq!(total, 1.0, "{held:?}");
    held
}

#[test]
fn a_device_is_in_one_state_at_a_time() {
    let failing = fake("failing", |_| {
        Err(DeviceError::Lost("on purpose".to_owned()))
    });
    let service = serving(vec![failing, honest()]);
    assert_eq!(states(&service, "failing"), ["up"]);
    assert_eq!(states(&service, "cpu"), ["up"]);
    let mut number = 0;
    eventually("the device has failed", || {
        number += 1;
        let local = request("LOCAL", &target(number));
        assert_work(&post_works(service.address, &local.to_string()), &local);
        states(&service, "failing") == ["down"]
    });
    assert_eq!(states(&service, "cpu"), ["up"]);
    let page = metrics(service.management);
    let faults = counts(&page, "atto_work_device_faults_total");
    assert_eq!(faults, expected([("device=\"failing\"", 1.0)]));
    let rates = counts(&page, "atto_work_device_hash_rate");
    assert_eq!(rates.keys().collect::<Vec<_>>(), ["device=\"cpu\""]);
}

#[test]
fn the_process_and_its_machine_are_measured_as_spring_does() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let live = request("LIVE", &target(1)).to_string();
    let mut client = connect(server.address);
    client.write_all(works(&live).as_bytes()).unwrap();
    eventually("the process uses its processors", || {
        server.metric("process_cpu_usage") > 0.0 && server.metric("system_cpu_usage") > 0.0
    });
    let page = get(server.management, "/prometheus");
    let is_part = |name| (0.0..=1.0).contains(&page.metric(name));
    assert!(is_part("process_cpu_usage") && is_part("system_cpu_usage"));
    assert!(page.metric("system_cpu_count") >= 1.0);
    assert!(page.metric("system_load_average_1m") >= 0.0);
    for (alias, name) in [("open", "open_fds"), ("max", "max_fds")] {
        let alias = page.metric(&format!("process_files_{alias}_files"));
        assert_eq!(alias, page.metric(&format!("process_{name}")));
    }
}

#[test]
fn requests_in_progress_show_until_they_end() {
    let server = Server::on_cpu(&["--threads", "1", "--kernel", "portable"]);
    let live = request("LIVE", &target(1)).to_string();
    let labels = spring("POST", "UNKNOWN", "UNKNOWN", "/works");
    let name = |suffix: &str| format!("http_server_requests_active_seconds_{suffix}{{{labels}}}");
    let active = |suffix: &str| get(server.management, "/prometheus").metric_or_zero(&name(suffix));
    let clients = [(); 2].map(|()| {
        let mut client = connect(server.address);
        client.write_all(works(&live).as_bytes()).unwrap();
        client
    });
    eventually("both are in progress", || active("count") == 2.0);
    let page = get(server.management, "/prometheus");
    let (sum, max) = (page.metric(&name("sum")), page.metric(&name("max")));
    assert!(0.0 < max && max < sum && sum <= 2.0 * max, "{sum} {max}");
    drop(clients);
    eventually("both have left", || active("count") == 0.0);
    assert_eq!((active("sum"), active("max")), (0.0, 0.0));
}

/// The names and values of the samples of an `OpenMetrics` page.
fn open_metrics(management: SocketAddr) -> (Response, BTreeMap<String, String>) {
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                  text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let page = get_as(management, "/prometheus", accept);
    let lines = page.body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let sample = line.split(" # ").next().unwrap();
        let (name, value) = sample.rsplit_once(' ').expect(line);
        (name.to_owned(), value.to_owned())
    });
    let samples = samples.collect();
    (page, samples)
}

#[test]
fn prometheus_gets_open_metrics_as_it_asks() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let local = request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &local.to_string()), &local);
    let (page, samples) = open_metrics(server.management);
    assert_eq!(
        page.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(page.body.ends_with("\n# EOF\n"));
    let text = get(server.management, "/prometheus").body;
    for (name, family) in families(&text) {
        let name = name.strip_suffix("_total").unwrap_or(&name);
        let declared = format!("# TYPE {name} {}\n", family.kind);
        assert!(page.body.contains(&declared), "{declared}");
        for unit in ["seconds", "bytes"] {
            let declared = format!("# UNIT {name} {unit}\n");
            let is_declared = page.body.contains(&declared);
            assert_eq!(is_declared, name.ends_with(unit), "{declared}");
        }
        for (sample, mut labels, _) in family.samples {
            if sample.starts_with("http_server_requests_active") {
                continue;
            }
            let bound = labels.remove("le").map(|bound| match &*bound {
                "+Inf" => bound,
                bound => format!("{:?}", bound.parse::<f64>().unwrap()),
            });
            labels.insert("application".to_owned(), "atto-work-server".to_owned());
            let wanted = |found: &str| {
                let (of, rest) = found.split_once('{').unwrap_or((found, ""));
                let rest: BTreeSet<_> = rest
                    .trim_end_matches('}')
                    .split("\",")
                    .map(|pair| pair.trim_end_matches('"'))
                    .collect();
                let mut pairs: BTreeSet<_> = labels
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{value}"))
                    .collect();
                pairs.extend(bound.as_ref().map(|bound| format!("le=\"{bound}")));
                of == sample && pairs.iter().map(String::as_str).eq(rest)
            };
            // Names of devices and features may have commas.
            let plain = !labels.values().any(|value| value.contains(','));
            assert!(
                !plain || samples.keys().any(|found| wanted(found)),
                "{sample} {labels:?}"
            );
        }
    }
    assert_eq!(
        samples["atto_work_remembered_total{application=\"atto-work-server\"}"],
        "0"
    );
    // Clients that ask for nothing, for another version, or prefer text get the other format.
    for accept in [
        "*/*",
        "text/plain",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=0.1,text/plain;q=0.2",
        "application/openmetrics-text;q=0",
    ] {
        let page = get_as(server.management, "/prometheus", accept);
        assert_eq!(
            page.header("content-type"),
            Some("text/plain; version=0.0.4"),
            "{accept}"
        );
        families(&page.body);
    }
}

#[test]
fn strange_requests_do_not_multiply_series() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let ask = |method: &str, path: &str| {
        let asked = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        exchange(server.address, &asked).status
    };
    for number in 0..100 {
        assert_eq!(ask(&format!("M{number}"), "/works"), 405);
        assert_eq!(ask("GET", &format!("/{number}")), 404);
        assert_eq!(ask("GET", &format!("/works?{number}")), 405);
        assert_eq!(ask("GET", &format!("/swagger-ui/{number}")), 404);
        assert_eq!(ask("GET", &format!("/works/verify/{number}\"")), 404);
    }
    let counted = counts(&metrics(server.management), COUNT);
    let expected = [
        (spring("UNKNOWN", "CLIENT_ERROR", "405", "/works"), 100.0),
        (spring("GET", "CLIENT_ERROR", "404", "/**"), 200.0),
        (spring("GET", "CLIENT_ERROR", "405", "/works"), 100.0),
        (
            spring("GET", "CLIENT_ERROR", "404", "/swagger-ui/**"),
            100.0,
        ),
    ];
    assert_eq!(counted, BTreeMap::from(expected));
}
