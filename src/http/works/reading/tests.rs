use super::*;
use crate::work::{Network, Target};

const NOW: i64 = 1_795_329_945_748;

fn parsed(body: &str) -> Result<WorkRequest, Problem> {
    parse(body.as_bytes(), Timestamp::from_millis(NOW).unwrap())
}

/// A body with these three members, as JSON text.
fn body(network: &str, timestamp: &str, target: &str) -> String {
    format!(r#"{{"network":{network},"timestamp":{timestamp},"target":{target}}}"#)
}

fn target() -> String {
    format!("{:?}", "07".repeat(32))
}

#[test]
fn a_right_request_is_read() {
    let request = parsed(&body("\"LOCAL\"", &NOW.to_string(), &target())).unwrap();
    assert_eq!(request.network(), Network::Local.into());
    assert_eq!(request.target(), &Target::new([7; 32]));
    assert_eq!(request.rule().bound(), 429_496_729_550_000);
}

#[test]
fn unknown_members_are_ignored() {
    let body = body("\"LOCAL\"", &NOW.to_string(), &target()).replace('}', ",\"extra\":[1]}");
    assert!(parsed(&body).is_ok());
}

#[test]
fn an_error_names_every_wrong_member() {
    let Err(Problem::InvalidFields(errors)) = parsed(r#"{"network":"UNKNOWN","timestamp":"now"}"#)
    else {
        panic!("not refused");
    };
    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    assert_eq!(fields, ["network", "timestamp", "target"]);
    assert_eq!(
        errors[1].detail,
        "timestamp is a string; it must be a whole number of Unix milliseconds, in 64 bits"
    );
    assert_eq!(
        errors[2].detail,
        "target is missing; it must be a string of 64 hex digits"
    );
}

#[test]
fn an_error_names_the_type_of_a_wrong_value() {
    let cases = [
        ("null", "is missing"),
        (
            "true",
            "is true; it must be a whole number of Unix milliseconds, in 64 bits",
        ),
        ("1.50", "is 1.50;"),
        ("\"1.5\"", "is a string;"),
        (&"9".repeat(41), "is a long number;"),
        ("18446744073709551615", "is 18446744073709551615;"),
        ("[]", "is an array;"),
        ("{}", "is an object;"),
    ];
    for (value, expected) in cases {
        let Err(Problem::InvalidFields(errors)) = parsed(&body("\"LOCAL\"", value, &target()))
        else {
            panic!("{value} is not refused");
        };
        assert_eq!(errors.len(), 1);
        assert!(errors[0].detail.contains(expected), "{}", errors[0].detail);
    }
}

#[test]
fn a_timestamp_may_be_spelled_in_any_way() {
    let plain = parsed(&body("\"LOCAL\"", &NOW.to_string(), &target())).unwrap();
    for spelling in ["\"1795329945748\"", "1795329945748.0", "1.795329945748e12"] {
        let request = parsed(&body("\"LOCAL\"", spelling, &target()));
        assert_eq!(request.unwrap(), plain, "{spelling}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let right = body("\"LOCAL\"", &NOW.to_string(), &target());
    for mark in MARKS {
        let body = [mark, right.as_bytes()].concat();
        let error = parse(&body, Timestamp::from_millis(NOW).unwrap()).unwrap_err();
        assert!(error.to_string().contains("byte order mark"), "{error}");
    }
}

#[test]
fn an_array_of_the_values_is_no_object() {
    let array = format!(r#" ["LOCAL",{NOW},{}]"#, target());
    assert!(matches!(parsed(&array), Err(Problem::MalformedJson(_))));
}

#[test]
fn an_error_names_every_wrong_member_of_a_request_to_verify() {
    let verify = |body: &str| parse_verify(body.as_bytes(), Timestamp::from_millis(NOW).unwrap());
    let right = body("\"LOCAL\"", &NOW.to_string(), &target())
        .replace('}', ",\"work\":\"576887b000000000\"}");
    let (request, nonce) = verify(&right).unwrap();
    assert_eq!(request.network(), Network::Local.into());
    assert_eq!(nonce.to_string(), "576887B000000000");
    let Err(Problem::InvalidFields(errors)) = verify("{\"timestamp\":1,\"work\":7}") else {
        panic!("not refused");
    };
    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    assert_eq!(fields, ["network", "timestamp", "target", "work"]);
    assert_eq!(
        errors[3].detail,
        "work is 7; it must be a string of 16 hex digits"
    );
}

proptest::proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body: Vec<u8>) {
        let now = Timestamp::from_millis(NOW).unwrap();
        let _ = parse(&body, now);
        let _ = parse_verify(&body, now);
    }
}
