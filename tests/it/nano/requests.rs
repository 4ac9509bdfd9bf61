//! The members of requests, and what is said of them: every row of the tables in `docs/nano.md`.

use serde_json::{Value, json};

use super::{
    EASY, ROOT, ask, assert_error, assert_multiplier, assert_work, generate, post, root, server,
};
use crate::support::http::{exchange, get_as};

const BANANO: &str = "fffffe0000000000";

/// Works that others have computed, with the values that they reach, their multipliers to Nano's base, and whether they are
/// enough for a send and a receive.
const KNOWN: [(&str, &str, &str, &str, &str, &str); 7] = [
    (
        ROOT,
        "2b3d689bbcb21dca",
        "fffffff93c41ec94",
        "1.182623871097636",
        "1",
        "1",
    ),
    (
        ROOT,
        "2bf29ef00786a6bc",
        "ffffffd21c3933f4",
        "0.174330860917187",
        "0",
        "1",
    ),
    (ROOT, "0", "6b90c9aab5d66034", "0.000000003212443", "0", "0"),
    (
        "3F93C5CD2E314FA16702189041E68E68C07B27961BF37F0B7705145BEFBA3AA3",
        "205452237a9b01f4",
        "ffffffff287741bf",
        "9.501974378880858",
        "1",
        "1",
    ),
    (
        "E89208DD038FBB269987689621D52292AE9C35941A7484756ECCED92A65093BA",
        "62f05417dd3fb691",
        "fffffff4000d3dac",
        "0.666677891310542",
        "0",
        "1",
    ),
    (
        "991CF190094C00F0B68E2E5F75F6BEE95A2E0BD93CEAA4A6734DB9F19B728948",
        "3c82cc724905ee95",
        "ffffffdc89d4625e",
        "0.225596118559023",
        "0",
        "1",
    ),
    (
        "2514452A978F08D1CF76BB40B6AD064183CF275D3CC5D3E0515DC96E2112AD4E",
        "fa055f79fa56abcf",
        "fffffffcc19540e9",
        "2.466230885829833",
        "1",
        "1",
    ),
];

#[test]
fn published_works_are_judged_as_elsewhere() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    for (root, work, value, multiplier, all, receive) in KNOWN {
        let body = json!({ "action": "work_validate", "hash": root, "work": work });
        let expected = json!({
            "valid_all": all,
            "valid_receive": receive,
            "difficulty": value,
            "multiplier": multiplier,
        });
        let answer = ask(nano, &body);
        assert_eq!(
            (answer.status, answer.json()),
            (200, expected.clone()),
            "{body}"
        );
        let value = u64::from_str_radix(value, 16).unwrap();
        for (difficulty, valid) in [(value, "1"), (value + 1, "0"), (0, "1")] {
            let mut body = body.clone();
            body["difficulty"] = format!("{difficulty:x}").into();
            let mut expected = expected.clone();
            expected["valid"] = valid.into();
            assert_eq!(ask(nano, &body).json(), expected, "{body}");
        }
    }
    // A multiplier takes the place of the difficulty, and says nothing without one.
    let mut body = json!({
        "action": "work_validate", "hash": ROOT, "work": "2b3d689bbcb21dca", "multiplier": "1.1826",
    });
    assert!(ask(nano, &body).json().get("valid").is_none());
    body["difficulty"] = "ffffffffffffffff".into();
    assert_eq!(ask(nano, &body).json()["valid"], "1");
    body["multiplier"] = 1.1827.into();
    assert_eq!(ask(nano, &body).json()["valid"], "0");
}

#[test]
fn banano_has_one_difficulty_for_all_blocks() {
    let server = server(&["--nano-difficulty", BANANO]);
    let nano = server.nano.unwrap();
    for (root, work, value, _, _, receive) in KNOWN {
        let body = json!({ "action": "work_validate", "hash": root, "work": work });
        let answer = ask(nano, &body).json();
        assert_eq!(answer["valid_all"], receive, "{body}");
        assert_eq!(answer["valid_receive"], receive, "{body}");
        let value = u64::from_str_radix(value, 16).unwrap();
        assert_multiplier(answer["multiplier"].as_str().unwrap(), value, BANANO);
    }
}

#[test]
fn a_work_is_generated_whatever_the_types_of_its_members_are() {
    let server = server(&["--nano-difficulty", EASY]);
    let nano = server.nano.unwrap();
    let lower = ROOT.to_lowercase();
    // The same root with other difficulties, so that an answer is not just the cached one of the same request.
    let cases = [
        (json!({ "hash": ROOT }), EASY),
        (
            json!({ "hash": lower, "difficulty": EASY.to_uppercase() }),
            EASY,
        ),
        (json!({ "hash": root(1), "difficulty": "0" }), "0"),
        (json!({ "hash": root(2), "difficulty": 0 }), "0"),
        (
            json!({ "hash": root(3), "difficulty": null, "multiplier": null, "version": null }),
            EASY,
        ),
        (
            json!({ "hash": root(4), "multiplier": "2.5" }),
            "ffff999999999999",
        ),
        (
            json!({ "hash": root(5), "multiplier": 2 }),
            "ffff800000000000",
        ),
        (
            json!({ "hash": root(6), "multiplier": 0.25, "difficulty": "ffffffffffffffff" }),
            "fffc000000000000",
        ),
        (json!({ "hash": root(7), "multiplier": "1e-12" }), "0"),
        (
            json!({
                "hash": root(8), "version": "work_1", "use_peers": true, "account": "nano_1", "timeout": 5, "id": 1.5,
                "json_block": "true", "block": { "type": "state", "hash": [1] }, "secondary_work_peers": [], "key": "k",
            }),
            EASY,
        ),
    ];
    for (mut body, difficulty) in cases {
        body["action"] = "work_generate".into();
        let hash = body["hash"].as_str().unwrap().to_owned();
        assert_work(&ask(nano, &body), &hash, difficulty, EASY);
    }
}

#[test]
fn an_answer_is_cached_for_every_request_that_it_serves() {
    let server = server(&["--nano-difficulty", EASY]);
    let nano = server.nano.unwrap();
    let first = ask(nano, &generate(ROOT, EASY)).json();
    let remembered = || server.metric("atto_work_remembered_total");
    assert_eq!(remembered(), 0.0);
    let reached = first["difficulty"].as_str().unwrap();
    for difficulty in ["0", EASY, reached] {
        assert_eq!(
            ask(nano, &generate(ROOT, difficulty)).json(),
            first,
            "{difficulty}"
        );
    }
    assert_eq!(remembered(), 3.0);
    // The answer is none for Atto, whose rule is the opposite.
    let atto = crate::support::request("LOCAL", ROOT);
    let answer = crate::support::http::post_works(server.address, &atto.to_string());
    crate::support::assert_work(&answer, &atto);
    assert_eq!(remembered(), 3.0);
    let ended = "atto_work_requests_total{network=\"NANO\",outcome=\"ok\"}";
    assert_eq!(server.metric(ended), 4.0);
}

#[test]
fn a_member_that_is_wrong_is_named() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    let generate = |more: Value| {
        let mut body = json!({ "action": "work_generate", "hash": ROOT });
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        body
    };
    let validate = |more: Value| {
        let mut body = generate(more);
        body["action"] = "work_validate".into();
        body
    };
    let cancel = |hash: Value| json!({ "action": "work_cancel", "hash": hash });
    let long = "f".repeat(17);
    let cases = [
        (generate(json!({ "hash": &ROOT[1..] })), "Bad block hash"),
        (
            generate(json!({ "hash": format!("{ROOT}0") })),
            "Bad block hash",
        ),
        (
            generate(json!({ "hash": format!("{}G", &ROOT[1..]) })),
            "Bad block hash",
        ),
        (generate(json!({ "hash": "" })), "Bad block hash"),
        (generate(json!({ "hash": 7 })), "Bad block hash"),
        (generate(json!({ "hash": [ROOT] })), "Bad block hash"),
        (cancel("00".into()), "Bad block hash"),
        (
            validate(json!({ "hash": "x", "work": "0" })),
            "Bad block hash",
        ),
        (generate(json!({ "difficulty": "" })), "Bad difficulty"),
        (generate(json!({ "difficulty": "0xff" })), "Bad difficulty"),
        (generate(json!({ "difficulty": long })), "Bad difficulty"),
        (generate(json!({ "difficulty": -1 })), "Bad difficulty"),
        (generate(json!({ "difficulty": {} })), "Bad difficulty"),
        (
            generate(json!({ "difficulty": "x", "multiplier": 1 })),
            "Bad difficulty",
        ),
        (
            validate(json!({ "work": "0", "difficulty": "x" })),
            "Bad difficulty",
        ),
        (generate(json!({ "multiplier": "0" })), "Bad multiplier"),
        (generate(json!({ "multiplier": -1.5 })), "Bad multiplier"),
        (generate(json!({ "multiplier": "inf" })), "Bad multiplier"),
        (generate(json!({ "multiplier": "nan" })), "Bad multiplier"),
        (generate(json!({ "multiplier": "1e999" })), "Bad multiplier"),
        (generate(json!({ "multiplier": "two" })), "Bad multiplier"),
        (generate(json!({ "multiplier": "" })), "Bad multiplier"),
        (generate(json!({ "version": "work_0" })), "Bad work version"),
        (generate(json!({ "version": 1 })), "Bad work version"),
        (
            validate(json!({ "work": "0", "version": "" })),
            "Bad work version",
        ),
        (validate(json!({ "work": "" })), "Bad work"),
        (validate(json!({ "work": "0x1" })), "Bad work"),
        (validate(json!({ "work": long })), "Bad work"),
        (validate(json!({ "work": -1 })), "Bad work"),
        (validate(json!({})), "Failed to deserialize JSON"),
        (
            generate(json!({ "hash": null })),
            "Failed to deserialize JSON",
        ),
        (
            json!({ "action": "work_cancel" }),
            "Failed to deserialize JSON",
        ),
        (json!({ "hash": ROOT }), "Failed to deserialize JSON"),
        (json!({}), "Failed to deserialize JSON"),
        (json!([]), "Failed to deserialize JSON"),
        (json!(["work_generate", ROOT]), "Failed to deserialize JSON"),
        (json!("work_generate"), "Failed to deserialize JSON"),
        (json!(null), "Failed to deserialize JSON"),
        (json!({ "action": "benchmark" }), "Unknown command"),
        (
            json!({ "action": "WORK_GENERATE", "hash": ROOT }),
            "Unknown command",
        ),
        (json!({ "action": 1 }), "Unknown command"),
        (json!({ "action": {} }), "Unknown command"),
    ];
    let count = cases.len();
    for (body, error) in cases {
        let answer = ask(nano, &body);
        assert_error(&answer, 400, error);
        let hint = answer.json()["hint"].as_str().expect("a hint").to_owned();
        assert!(!hint.is_empty(), "{body}");
        if error == "Unknown command" {
            let known = "Supported commands: work_generate, work_cancel, work_validate, status";
            assert_eq!(hint, known);
        }
    }
    let twice = format!(r#"{{"action":"work_generate","hash":"{ROOT}","hash":"{ROOT}"}}"#);
    let whole = generate(json!({})).to_string();
    let texts = [
        "",
        "{",
        "\u{feff}{}",
        &twice,
        &whole[..whole.len() - 1],
        &format!("{whole}{whole}"),
    ];
    for text in texts {
        assert_error(&post(nano, text), 400, "Failed to deserialize JSON");
    }
    let invalid: f64 = ["none", "NANO"]
        .map(|network| format!("{{network=\"{network}\",outcome=\"invalid\"}}"))
        .iter()
        .map(|labels| {
            let page = crate::support::http::get(server.management, "/prometheus");
            page.metric_or_zero(&format!("atto_work_requests_total{labels}"))
        })
        .sum();
    assert_eq!(invalid, (count + texts.len()) as f64);
}

#[test]
fn a_request_that_is_too_hard_fails_with_200() {
    let server = server(&["--nano-difficulty", EASY, "--nano-max-multiplier", "4"]);
    let nano = server.nano.unwrap();
    let too_hard = "Difficulty above config limit or below publish threshold";
    for member in [
        json!({ "difficulty": "ffffc00000000001" }),
        json!({ "multiplier": "4.01" }),
        json!({ "multiplier": "1e300" }),
    ] {
        let mut body = json!({ "action": "work_generate", "hash": ROOT });
        body.as_object_mut()
            .unwrap()
            .extend(member.as_object().unwrap().clone());
        assert_error(&ask(nano, &body), 200, too_hard);
    }
    assert_work(
        &ask(nano, &generate(ROOT, "ffffc00000000000")),
        ROOT,
        "ffffc00000000000",
        EASY,
    );
}

#[test]
fn the_status_counts_searches() {
    let server = server(&[]);
    let answer = post(server.nano.unwrap(), "{\"action\":\"status\"}");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({ "generating": "0", "queue_size": "0" })
    );
}

#[test]
fn other_methods_are_told_which_are_allowed_and_browsers_get_a_page() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    for method in ["GET", "PUT", "DELETE", "PATCH", "BREW"] {
        let answer = exchange(
            nano,
            &format!("{method} /any HTTP/1.1\r\nhost: test\r\n\r\n"),
        );
        assert_error(&answer, 405, "Can only POST requests");
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{method}");
    }
    let head = exchange(nano, "HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(
        (head.status, head.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
    let options = exchange(nano, "OPTIONS / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("POST, OPTIONS"))
    );
    let page = get_as(nano, "/", "text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    for named in [
        "work_generate",
        "work_validate",
        "work_cancel",
        "status",
        "hash",
        "work",
        "difficulty",
        "multiplier",
        "version",
        "key",
        "valid_all",
        "valid_receive",
        "valid",
        "success",
        "generating",
        "queue_size",
        "error",
        "hint",
    ] {
        assert!(
            page.body.contains(&format!("<code>{named}</code>"))
                || page.body.contains(&format!("\"{named}\"")),
            "{named}"
        );
    }
    assert_eq!(get_as(nano, "/", "application/json").status, 405);
}

#[test]
fn a_body_may_have_16_kib() {
    let server = server(&["--nano-difficulty", EASY, "--body-timeout", "0.3"]);
    let nano = server.nano.unwrap();
    let body = generate(ROOT, EASY).to_string();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    assert_work(&post(nano, &padded(16 * 1024)), ROOT, EASY, EASY);
    let too_long = post(nano, &padded(16 * 1024 + 1));
    assert_error(&too_long, 413, "the body is larger than 16384 bytes");
    let slow = exchange(nano, &request_without_its_end(&body));
    assert_error(&slow, 408, "the body did not arrive within 0.3 s");
    let zipped = super::request("content-encoding: gzip\r\n", &body);
    assert_eq!(exchange(nano, &zipped).status, 415);
    let chunked = format!(
        "POST /a/b?c HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_work(&exchange(nano, &chunked), ROOT, EASY, EASY);
}

fn request_without_its_end(body: &str) -> String {
    let whole = super::request("", body);
    whole[..whole.len() - 1].to_owned()
}

#[test]
fn without_an_address_there_is_no_such_port() {
    let server = crate::support::Server::on_cpu(&[]);
    assert_eq!(server.nano, None);
    let page = crate::support::http::get(server.management, "/prometheus").body;
    assert!(!page.contains("NANO") && !page.contains("listener=\"nano\""));
}
