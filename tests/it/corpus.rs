//! Everything that reads text from outside, with the inputs of the fuzz targets' corpus and with inputs made at random. The
//! same functions run for longer under a fuzzer: see `fuzz/README.md`.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::fuzzing;

/// Runs `check` with every file of a corpus, of which there must be at least `least`.
fn replay(target: &str, least: usize, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    assert!(files.len() >= least, "{} of {least}", files.len());
    for file in files {
        // Of a failing check this is the last line before the panic's.
        eprintln!("{}", file.display());
        check(&fs::read(file).expect("it can be read"));
    }
}

#[test]
fn requests_of_the_corpus_are_judged_by_the_rules() {
    replay("request", 80, fuzzing::request);
}

#[test]
fn requests_of_nano_in_the_corpus_are_judged_by_the_rules() {
    replay("nano", 60, fuzzing::nano_request);
}

#[test]
fn hex_of_the_corpus_is_read_as_it_is_written() {
    replay("hex", 40, fuzzing::hex);
}

#[test]
fn configuration_of_the_corpus_stays_within_its_ranges() {
    replay("configuration", 40, fuzzing::configuration);
}

/// Text that is close to hex digits, of about the right length.
fn nearly_hex() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[0-9a-fA-F]{16}|[0-9a-fA-F]{64}",
        2 => "[0-9a-fA-F]{1,17}",
        2 => "[0-9a-fA-F]{0,70}",
        1 => "[0-9a-gA-Gé ]{16}|[0-9a-gA-Gé ]{64}",
        1 => any::<String>(),
    ]
}

/// JSON text that is close to the value of one of the members.
fn nearly_value() -> impl Strategy<Value = String> {
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let timestamp = prop_oneof![
        4 => 1_704_067_200_000..fuzzing::NOW + 60_001,
        1 => any::<i64>(),
        1 => (fuzzing::NOW + 59_990)..(fuzzing::NOW + 60_010),
        1 => 1_704_067_199_990..1_704_067_200_010_i64,
    ];
    prop_oneof![
        4 => "LIVE|BETA|DEV|LOCAL".prop_map(quoted),
        4 => timestamp.prop_map(|timestamp| timestamp.to_string()),
        4 => nearly_hex().prop_map(quoted),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        2 => "\"?-?17953299457[0-9]{0,2}(\\.[0-9]{1,3}|\\.0{1,20}[1-9]?)?([eE][-+]?[0-9]{1,2})?\"?",
        1 => "null|true|[{]}|\\[\\]|\"\"|1e3|-0|\"\\\\u0041\"".prop_map(|text| text),
    ]
}

/// Members in any order, mostly the right ones once each.
fn nearly_request() -> impl Strategy<Value = Vec<u8>> {
    let right = (
        "LIVE|BETA|DEV|LOCAL",
        1_704_067_190_000..fuzzing::NOW + 70_000,
        "[0-9a-fA-F]{64}",
    );
    let right = right.prop_map(|(network, timestamp, target)| {
        let member = |name: &str, value: String| format!("\"{name}\":{value}");
        vec![
            member("network", format!("\"{network}\"")),
            member("timestamp", timestamp.to_string()),
            member("target", format!("\"{target}\"")),
        ]
    });
    let name = "network|timestamp|target|Target|extra";
    let other = (name, nearly_value()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let members = (right, vec(other, 0..3), 0..4_usize, any::<bool>());
    members
        .prop_flat_map(|(mut members, others, lost, replaced)| {
            if replaced && lost < members.len() {
                members.remove(lost);
            }
            members.extend(others);
            Just(members).prop_shuffle()
        })
        .prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes())
}

/// Members of Nano's API in any order, mostly the right ones once each.
fn nearly_nano() -> impl Strategy<Value = Vec<u8>> {
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let value = prop_oneof![
        6 => nearly_hex().prop_map(quoted),
        3 => "[0-9a-fA-F]{1,17}".prop_map(quoted),
        3 => (-1.0..100.0).prop_map(|number: f64| number.to_string()),
        2 => any::<f64>().prop_map(|number| format!("\"{number:e}\"")),
        2 => "work_[12]|status|inf|NaN|1e[0-9]{1,3}|0\\.[0-9]{1,20}".prop_map(quoted),
        1 => "null|true|[{]}|\\[\\]|\"\"|-0|0|\"\\\\u0041\"|\"\\\\ud800\"".prop_map(|text| text),
    ];
    let action = "work_generate|work_validate|work_cancel|status|benchmark";
    let right = (
        action,
        "[0-9a-fA-F]{64}",
        "[0-9a-f]{1,16}",
        "fffff[0-9a-f]{11}",
    );
    let right = right.prop_map(|(action, hash, work, difficulty)| {
        let member = |name: &str, value: &str| format!("\"{name}\":\"{value}\"");
        vec![
            member("action", &action),
            member("hash", &hash),
            member("work", &work),
            member("difficulty", &difficulty),
        ]
    });
    let name = "action|hash|work|difficulty|multiplier|version|key|block";
    let other = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let members = (right, vec(other, 0..3), 0..6_usize);
    members
        .prop_flat_map(|(mut members, others, lost)| {
            if lost < members.len() {
                members.remove(lost);
            }
            members.extend(others);
            Just(members).prop_shuffle()
        })
        .prop_map(|members| format!("{{{}}}", members.join(", ")).into_bytes())
}

/// `PROPTEST_CASES` by its own rules, but with another default.
fn cases() -> u32 {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    if is_set {
        ProptestConfig::default().cases
    } else {
        2000
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_judged_by_the_rules(body in nearly_request()) {
        fuzzing::request(&body);
    }

    #[test]
    fn a_request_with_a_byte_changed_is_judged_by_the_rules(
        mut body in nearly_request(),
        place: prop::sample::Index,
        byte: u8,
    ) {
        let place = place.index(body.len());
        body[place] = byte;
        fuzzing::request(&body);
        fuzzing::request(&body[..place]);
    }

    #[test]
    fn requests_of_nano_are_judged_by_the_rules(
        mut body in nearly_nano(),
        place: prop::sample::Index,
        byte: u8,
    ) {
        fuzzing::nano_request(&body);
        let place = place.index(body.len());
        body[place] = byte;
        fuzzing::nano_request(&body);
        fuzzing::nano_request(&body[..place]);
    }

    #[test]
    fn any_bytes_are_judged_by_the_rules(bytes: Vec<u8>) {
        fuzzing::request(&bytes);
        fuzzing::nano_request(&bytes);
        fuzzing::hex(&bytes);
        fuzzing::configuration(&bytes);
    }

    #[test]
    fn hex_is_read_as_it_is_written(text in nearly_hex()) {
        fuzzing::hex(text.as_bytes());
    }

    #[test]
    fn configuration_stays_within_its_ranges(
        name in "device|threads|queue-size|queue-capacity|max-connections|(header|body|idle)-timeout|shutdown-(delay|grace)|address|nano-(address|difficulty|max-multiplier|max-connections)|kernel|backend|log-format",
        value in prop_oneof![
            "[0-9]{1,7}(\\.[0-9]{1,12})?|-[0-9]|[0-9]e[0-9]|inf|NaN|nan",
            (0.0..4000.0).prop_map(|seconds: f64| seconds.to_string()),
            "((all|[0-9]{1,3}|[a-z ]{1,5}|0000:[0-9a-f]{2}:00\\.0),?){1,3}",
            "127\\.0\\.0\\.[0-9]{1,3}:[0-9]{1,5}",
            any::<String>(),
        ],
    ) {
        fuzzing::configuration(value.as_bytes());
        fuzzing::configuration(format!("{name}={value}").as_bytes());
    }
}
