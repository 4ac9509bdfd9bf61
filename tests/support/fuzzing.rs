//! What must hold for every input from outside, whatever its bytes are. The fuzz targets in `fuzz/` and the replay in
//! `tests/it/corpus.rs` run these same functions, each of which fails by a panic.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use atto_work_server::config::ServeArgs;
use atto_work_server::device::gpu::Selection;
use atto_work_server::http::nano::{self, Difficulties};
use atto_work_server::http::parse;
use atto_work_server::problem::Problem;
use atto_work_server::work::{
    Difficulty, Multiplier, NanoWork, Network, Nonce, Target, Threshold, Timestamp, parse_root,
};
use clap::{Args, Command, FromArgMatches};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, json};

/// The server's clock for these inputs, so that what is accepted today stays accepted.
pub(crate) const NOW: i64 = 1_795_329_945_748;

/// Reads the bytes of a body as a request for work.
///
/// It is accepted exactly if the rules of `docs/api.md`, written down here once more, allow it; what is accepted reads the
/// same when it is written again; what is refused is refused with one of the two codes, and a reason.
pub(crate) fn request(body: &[u8]) {
    let now = Timestamp::from_millis(NOW).expect("within the calendar");
    let expected = expected_request(body);
    match parse(body, now) {
        Ok(request) => {
            let (network, timestamp, target) = expected.expect("a wrong body is accepted");
            assert_eq!(request.network().as_str(), network);
            let timestamp = Timestamp::from_millis(timestamp).expect("a time with a threshold");
            let threshold =
                Threshold::required(network.parse().expect("it was accepted"), timestamp);
            assert_eq!(request.rule(), threshold.into());
            assert!(threshold.get() > 0, "such work cannot be found");
            assert_eq!(request.target().as_bytes(), &bytes_of::<32>(&target));
            let again = json!({
                "network": request.network().to_string(),
                "timestamp": timestamp.as_millis(),
                "target": request.target().to_string(),
            });
            let again = parse(again.to_string().as_bytes(), now);
            assert_eq!(again.expect("it was right before"), request);
        }
        Err(problem) => {
            assert_eq!(expected, None, "a right body is refused: {problem}");
            let (status, code) = (problem.code().status(), problem.code().as_str());
            assert_eq!(status, 400);
            assert!(!problem.to_string().is_empty());
            match problem {
                Problem::MalformedJson(_) => assert_eq!(code, "MALFORMED_JSON"),
                Problem::InvalidFields(errors) => {
                    assert_eq!(code, "INVALID_FIELDS");
                    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
                    let known: Vec<_> = ["network", "timestamp", "target"]
                        .into_iter()
                        .filter(|field| fields.contains(field))
                        .collect();
                    assert!(!fields.is_empty());
                    assert_eq!(fields, known, "each once, in their order");
                }
                other => panic!("this is no refusal of a body: {other:?}"),
            }
        }
    }
}

/// The members of a body, if they make a right request, by other means than the server's.
fn expected_request(body: &[u8]) -> Option<(String, i64, String)> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let [network, timestamp, target] = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    let (network, timestamp, target) = (network?, timestamp?, target?);
    let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
    let (network, target) = (text(&network)?, text(&target)?);
    let timestamp = whole(&text(&timestamp).unwrap_or_else(|| timestamp.get().to_owned()))?;
    let is_right = Network::ALL.iter().any(|known| known.as_str() == network)
        && (1_704_067_200_000..=NOW + 60_000).contains(&timestamp)
        && target.len() == 64
        && target.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_right.then_some((network, timestamp, target))
}

/// The value of a number in JSON's notation, if it is whole: its digits are written out, and those behind the point must be
/// zeros.
fn whole(number: &str) -> Option<i64> {
    // Not a word or the brackets of a list, and no space.
    let is_number = number.ends_with(|last: char| last.is_ascii_digit());
    serde_json::from_str::<Number>(number).ok()?;
    if !is_number || number.starts_with(char::is_whitespace) {
        return None;
    }
    let lower = number.to_lowercase();
    let (digits, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let (sign, before) = before
        .strip_prefix('-')
        .map_or(("", before), |before| ("-", before));
    // No body has more digits than this.
    let zeros = "0".repeat(16 * 1024);
    let digits = format!("{zeros}{before}{after}{zeros}");
    let point = usize::try_from(exponent).map_or_else(
        |_| (zeros.len() + before.len()).checked_sub(exponent.unsigned_abs() as usize),
        |exponent| Some(zeros.len() + before.len() + exponent),
    );
    let (whole, fraction) = digits.split_at_checked(point?)?;
    let whole = format!("{sign}{whole}").parse();
    whole
        .ok()
        .filter(|_| fraction.bytes().all(|digit| digit == b'0'))
}

/// Reads the three members of a request, and refuses each that comes twice.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = [Option<Box<RawValue>>; 3];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None, None, None];
        let mut seen = [false; 3];
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let names = ["network", "timestamp", "target"];
            let Some(index) = names.iter().position(|known| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err(A::Error::custom("twice"));
            }
            values[index] = Some(map.next_value()?);
        }
        Ok(values)
    }
}

/// Reads the bytes of a body as a request of Nano's API.
///
/// It is understood exactly as the rules of `docs/nano.md`, written down here once more, say; and what they refuse is refused
/// with the error that they name.
pub(crate) fn nano_request(body: &[u8]) {
    let base = Difficulty::NANO_SEND;
    let most = Multiplier::new(64.0).expect("above zero");
    let given = nano::parse(body, &Difficulties { base, most });
    match (given, expected_command(body)) {
        (Ok(command), Ok(expected)) => assert_eq!(command, expected),
        (Err(refusal), Err(expected)) => assert_eq!(refusal.to_string(), expected),
        (given, expected) => panic!("{given:?} is not {expected:?}"),
    }
}

/// What a body asks for, or the error, by other means than the server's.
fn expected_command(body: &[u8]) -> Result<nano::Command, &'static str> {
    const JSON: &str = "Failed to deserialize JSON";
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members = reader.deserialize_map(Texts).map_err(|_| JSON)?;
    reader.end().map_err(|_| JSON)?;
    let text = |name: &str| members.get(name).cloned().flatten();
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex && digits.contains(&text.len())
    };
    let number = |text: &str| {
        let padded = format!("{text:0>16}");
        hex(text, 1..=16).then(|| u64::from_be_bytes(bytes_of(&padded)))
    };
    let root = || {
        let text = text("hash").ok_or(JSON)?;
        let is_root = hex(&text, 64..=64);
        is_root
            .then(|| Target::new(bytes_of(&text)))
            .ok_or("Bad block hash")
    };
    let difficulty = || match text("difficulty") {
        Some(text) => number(&text).map(Some).ok_or("Bad difficulty"),
        None => Ok(None),
    };
    let multiplied = || match text("multiplier") {
        Some(text) => {
            let factor = text.parse::<f64>().ok();
            let factor = factor.filter(|factor| *factor > 0.0 && factor.is_finite());
            let valid = (34_359_738_368.0 / factor.ok_or("Bad multiplier")?).trunc();
            let all = 2_f64.powi(64);
            Ok::<_, &str>(Some(match valid {
                valid if valid >= all => 0,
                valid if valid < 1.0 => u64::MAX,
                valid => u64::MAX - (whole_of(valid) - 1),
            }))
        }
        None => Ok(None),
    };
    let version = || match text("version").as_deref() {
        None | Some("work_1") => Ok(()),
        Some(_) => Err("Bad work version"),
    };
    match &*text("action").ok_or(JSON)? {
        "work_generate" => {
            let (root, difficulty, multiplied) = (root()?, difficulty()?, multiplied()?);
            version()?;
            let difficulty = multiplied.or(difficulty).unwrap_or(0xFFFF_FFF8_0000_0000);
            if difficulty > 0xFFFF_FFFF_E000_0000 {
                return Err("Difficulty above config limit or below publish threshold");
            }
            let difficulty = Difficulty::new(difficulty);
            Ok(nano::Command::Generate { root, difficulty })
        }
        "work_validate" => {
            let root = root()?;
            let work = number(&text("work").ok_or(JSON)?).ok_or("Bad work")?;
            let (difficulty, multiplied) = (difficulty()?, multiplied()?);
            version()?;
            Ok(nano::Command::Validate {
                root,
                work: Nonce::new(work).into(),
                difficulty: difficulty
                    .map(|difficulty| Difficulty::new(multiplied.unwrap_or(difficulty))),
            })
        }
        "work_cancel" => Ok(nano::Command::Cancel { root: root()? }),
        "status" => Ok(nano::Command::Status),
        _ => Err("Unknown command"),
    }
}

/// A whole number below 2^64.
fn whole_of(number: f64) -> u64 {
    format!("{number:.0}").parse().expect("it is below 2^64")
}

/// Reads the members of a request of Nano's API as text, `None` for `null`, and refuses each that comes twice.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = BTreeMap<String, Option<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const KNOWN: [&str; 7] = [
            "action",
            "hash",
            "work",
            "difficulty",
            "multiplier",
            "version",
            "key",
        ];
        let mut texts = BTreeMap::new();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if !KNOWN.contains(&&*name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Box<RawValue>>()?;
            let text = match value.get() {
                "null" => None,
                text if text.starts_with('"') => {
                    // Half of a surrogate pair is no text of any rule.
                    Some(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()))
                }
                text => Some(text.to_owned()),
            };
            if texts.insert(name.into_owned(), text).is_some() {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(texts)
    }
}

/// Reads the text as a target and as a work of Atto, and as a root, a work and a difficulty of Nano.
///
/// It is accepted exactly if it has the right number of hex digits; the value is that of the digits; it is written in one
/// case, and read the same in either. Nano's numbers may have fewer digits, and are written with all.
pub(crate) fn hex(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    nano(text);
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (upper, lower) = (text.to_uppercase(), text.to_lowercase());
    match text.parse::<Target>() {
        Ok(target) => {
            assert!(is_hex && text.len() == 64, "{text:?} is no target");
            assert_eq!(target.as_bytes(), &bytes_of::<32>(text));
            assert_eq!(target.to_string(), upper);
            assert_eq!((upper.parse(), lower.parse()), (Ok(target), Ok(target)));
        }
        Err(error) => {
            assert!(!(is_hex && text.len() == 64), "{text:?} is a target");
            assert_eq!(error.field(), "target");
            assert!(!error.to_string().is_empty());
        }
    }
    match text.parse::<Nonce>() {
        Ok(nonce) => {
            assert!(is_hex && text.len() == 16, "{text:?} is no work");
            assert_eq!(nonce.get(), u64::from_le_bytes(bytes_of(text)));
            assert_eq!(nonce.to_string(), upper);
            assert_eq!((upper.parse(), lower.parse()), (Ok(nonce), Ok(nonce)));
        }
        Err(error) => {
            assert!(!(is_hex && text.len() == 16), "{text:?} is a work");
            assert_eq!(error.field(), "work");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Reads the text as the values of Nano.
fn nano(text: &str) {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (parse_root(text), text.parse::<Target>()) {
        (Ok(root), Ok(target)) => assert_eq!(root, target),
        (Err(error), Err(_)) => assert_eq!(error.field(), "hash"),
        (root, target) => panic!("{root:?} is no other than {target:?}"),
    }
    let is_number = is_hex && (1..=16).contains(&text.len());
    let padded = || format!("{text:0>16}").to_lowercase();
    match (text.parse::<NanoWork>(), text.parse::<Difficulty>()) {
        (Ok(work), Ok(difficulty)) => {
            assert!(is_number, "{text:?} is no number");
            let number = u64::from_be_bytes(bytes_of(&padded()));
            assert_eq!((work.nonce().get(), difficulty.get()), (number, number));
            assert_eq!(
                (work.to_string(), difficulty.to_string()),
                (padded(), padded())
            );
        }
        (Err(work), Err(difficulty)) => {
            assert!(!is_number, "{text:?} is a number");
            assert_eq!((work.field(), difficulty.field()), ("work", "difficulty"));
            assert!(!work.to_string().is_empty());
        }
        (work, difficulty) => panic!("{work:?} is no other than {difficulty:?}"),
    }
}

/// The bytes that these hex digits stand for.
fn bytes_of<const N: usize>(digits: &str) -> [u8; N] {
    let digit = |place: usize| {
        let digit = char::from(digits.as_bytes()[place]).to_digit(16);
        u8::try_from(digit.expect("a hex digit")).expect("below 16")
    };
    std::array::from_fn(|index| 16 * digit(2 * index) + digit(2 * index + 1))
}

/// Reads a line as a selection of cards; and, if it is `NAME=VALUE`, as a flag of `work-server serve`.
///
/// A selection is accepted exactly if it is `all` or a list of parts of which none is empty or `all`, and reads the same
/// when it is written again. A flag's value is taken only within its range.
pub(crate) fn configuration(line: &[u8]) {
    let Ok(line) = str::from_utf8(line) else {
        return;
    };
    selection(line);
    // Of clap's own flags, these print and are nothing to be read.
    if let Some((name, value)) = line.split_once('=')
        && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && !["help", "version"].contains(&name)
    {
        flag(name, value);
    }
}

fn selection(text: &str) {
    let is_all = |part: &str| part.eq_ignore_ascii_case("all");
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let is_list = parts.iter().all(|part| !part.is_empty() && !is_all(part));
    match text.parse::<Selection>() {
        Ok(selection) => {
            assert!(is_list || is_all(text.trim()), "{text:?} is no selection");
            assert_eq!(selection == Selection::default(), is_all(text.trim()));
            assert_eq!(selection.to_string().parse(), Ok(selection));
        }
        Err(error) => {
            assert!(!is_list && !is_all(text.trim()), "{text:?} is a selection");
            assert!(error.to_string().contains("does not select adapters"));
        }
    }
}

/// Gives `serve` one flag.
fn flag(name: &str, value: &str) {
    let given = format!("--{name}={value}");
    // Without the environment that this runs in.
    let command = ServeArgs::augment_args(Command::new("serve")).mut_args(|arg| arg.env(None));
    let Ok(matches) = command.try_get_matches_from(["serve", &given]) else {
        return;
    };
    let args = ServeArgs::from_arg_matches(&matches).expect("clap has read it");
    let seconds = |first: f64| Duration::from_secs_f64(first)..=Duration::from_secs(3600);
    assert!((1..=1024).contains(&args.devices.threads.unwrap_or(1)));
    assert!((1..=1024).contains(&args.queue_size));
    assert!(args.queue_capacity <= 100_000);
    assert!((1..=1_000_000).contains(&args.max_connections));
    for timeout in [args.header_timeout, args.body_timeout, args.idle_timeout] {
        assert!(seconds(0.1).contains(&timeout), "{given:?}");
    }
    assert!(seconds(1.0).contains(&args.max_connection_age), "{given:?}");
    for time in [args.shutdown_delay, args.shutdown_grace] {
        assert!(seconds(0.0).contains(&time), "{given:?}");
    }
    let flags = [
        ("header-timeout", args.header_timeout),
        ("body-timeout", args.body_timeout),
        ("idle-timeout", args.idle_timeout),
        ("max-connection-age", args.max_connection_age),
        ("shutdown-delay", args.shutdown_delay),
        ("shutdown-grace", args.shutdown_grace),
    ];
    if let Some((_, read)) = flags.iter().find(|(flag, _)| *flag == name) {
        let seconds: f64 = value.parse().expect("a number was read");
        assert!((read.as_secs_f64() - seconds).abs() < 1e-8, "{given:?}");
    }
    let multiplier = args.nano_max_multiplier.get();
    assert!((1.0..=1e6).contains(&multiplier), "{given:?}");
    assert!((1..=1_000_000).contains(&args.nano_max_connections));
    // What the service makes of it.
    let (settings, _) = (args.settings(), args.devices.choice());
    assert_eq!(settings.limits.running.get(), args.queue_size);
}
