//! The description of the API: that it is complete, that it is true of what the real binary answers, and that its
//! pages ask no other machine for anything.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use crate::support::http::{Response, connect, exchange, get, post_works, request as raw};
use crate::support::{Server, assert_work, eventually, request, target};
use atto_work_server::problem::Code;
use serde_json::{Value, json};

fn description(server: &Server) -> Value {
    let answer = get(server.address, "/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// The part that a pointer such as `#/components/schemas/Work` leads to.
fn follow<'a>(document: &'a Value, mut part: &'a Value) -> &'a Value {
    while let Some(reference) = part.get("$ref") {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        part = document
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} leads nowhere"));
    }
    part
}

/// Calls `look` with every value of the document.
fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(values) => values.iter().for_each(|value| visit(value, look)),
        Value::Object(members) => members.values().for_each(|value| visit(value, look)),
        _ => {}
    }
}

/// Fails unless `value` is as this schema says.
fn assert_fits(document: &Value, schema: &Value, value: &Value) {
    // With the components beside it, the schema's references lead where they lead in the document.
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}"));
    let errors: Vec<_> = validator.iter_errors(value).collect();
    assert!(errors.is_empty(), "{value}: {errors:?}");
}

/// The words of JSON Schema that the description uses.
const WORDS: [&str; 13] = [
    "$ref",
    "additionalProperties",
    "description",
    "enum",
    "format",
    "items",
    "maximum",
    "minItems",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
];

/// Fails if the schema has a word that is not known here: a validator ignores it, such as one with a typing error.
fn assert_known_words(schema: &Value) {
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        assert!(WORDS.contains(&&**word), "{word} in {schema}");
        match word.as_str() {
            "properties" => {
                let members = rule.as_object().expect("schemas by name");
                members.values().for_each(assert_known_words);
            }
            "items" => assert_known_words(rule),
            _ => {}
        }
    }
}

/// Fails unless the description has this answer of the operation: its status, its type, its headers and its body.
fn assert_described(document: &Value, described: &Value, answer: &Response) {
    let described = follow(document, described);
    assert!(described.is_object(), "not described: {answer:?}");
    let content = &described["content"][answer.header("content-type").unwrap()];
    assert_fits(document, &content["schema"], &answer.json());
    if answer.status >= 400 {
        let body = answer.json();
        let code = body["code"].as_str().unwrap();
        assert!(content["examples"][code].is_object(), "{code}: {described}");
    }
    let described: BTreeSet<_> = described["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, header)| {
            assert!(follow(document, header)["schema"].is_object());
            name.to_lowercase()
        })
        .collect();
    for name in [
        "accept",
        "accept-encoding",
        "allow",
        "retry-after",
        "server-timing",
        "www-authenticate",
        "x-request-id",
    ] {
        assert!(
            !answer.has(name) || described.contains(name),
            "{name}: {answer:?}"
        );
    }
}

/// What the description has of this operation and status.
fn operation<'a>(document: &'a Value, path: &str, status: u16) -> &'a Value {
    &document["paths"][path]["post"]["responses"][status.to_string()]
}

#[test]
fn all_paths_have_the_same_description() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(get(server.address, "/v3/api-docs").json(), document);
    let yaml = get(server.address, "/v3/api-docs.yaml");
    assert_eq!(
        yaml.header("content-type"),
        Some("application/vnd.oai.openapi")
    );
    assert!(yaml.body.contains("\n\"openapi\": \"3.1.0\"\n"));
    let read: Value = serde_norway::from_str(&yaml.body).unwrap();
    assert_eq!(read, document);
    for path in [
        "/openapi.json",
        "/v3/api-docs",
        "/v3/api-docs.yaml",
        "/",
        "/swagger-ui/index.html",
    ] {
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        // Load balancers check the root with it.
        let expected = match path {
            "/" => 200,
            path => get(server.address, path).status,
        };
        assert_eq!(exchange(server.address, &head).status, expected);
        let answer = exchange(server.address, &raw("POST", path, "", ""));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[test]
fn a_library_reads_the_description() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    let read: utoipa::openapi::OpenApi = serde_json::from_value(document).unwrap();
    let paths: Vec<_> = read.paths.paths.keys().collect();
    assert_eq!(paths, ["/works", "/works/verify"]);
    let works = read.paths.paths["/works"].post.as_ref().unwrap();
    assert!(works.request_body.is_some());
    assert_eq!(works.responses.responses.len(), 11);
}

#[test]
fn whatever_the_description_refers_to_is_in_it() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    let mut used = BTreeSet::new();
    visit(&document, &mut |value| {
        if let Some(reference) = value.get("$ref") {
            follow(&document, value);
            used.insert(reference.as_str().unwrap().to_owned());
        }
    });
    for kind in ["schemas", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let used = used.contains(&format!("#/components/{kind}/{name}"));
            // Answers to paths that are not described have it.
            assert!(used || name == "Allow", "{kind}/{name} is not used");
        }
    }
}

#[test]
fn every_schema_is_one_of_json_schema_2020_12() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    let mut schemas: Vec<_> = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .values()
        .cloned()
        .collect();
    visit(&document, &mut |value| {
        schemas.extend(value.get("schema").cloned());
    });
    assert!(schemas.len() > 10, "{schemas:?}");
    for schema in schemas {
        assert_known_words(&schema);
        let valid = jsonschema::draft202012::meta::validate(&schema);
        valid.unwrap_or_else(|error| panic!("{error}: {schema}"));
    }
}

#[test]
fn every_row_of_the_table_is_described_with_an_example() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"];
    assert_eq!(codes["enum"].as_array().unwrap().len(), Code::ALL.len());
    for code in Code::ALL {
        let (status, name) = (code.status().as_u16(), code.as_str());
        assert!(codes["enum"].as_array().unwrap().contains(&json!(name)));
        assert!(codes["description"].as_str().unwrap().contains(code.when()));
        let elsewhere = &document["components"]["responses"][name];
        let at = [
            operation(&document, "/works", status),
            operation(&document, "/works/verify", status),
            elsewhere,
        ];
        let content = |answer: &Value| answer["content"]["application/problem+json"].clone();
        let examples: Vec<_> = at
            .into_iter()
            .map(|answer| (answer, content(answer)["examples"][name]["value"].clone()))
            .filter(|(_, example)| example.is_object())
            .collect();
        assert!(!examples.is_empty(), "{name}");
        for (answer, example) in examples {
            assert_eq!(example["status"], status);
            assert_eq!(example["code"], name);
            assert_fits(&document, &content(answer)["schema"], &example);
            let description = answer["description"].as_str().unwrap();
            assert!(description.contains(name) && description.contains(code.when()));
        }
    }
}

#[test]
fn examples_are_answered_as_they_say() {
    let server = Server::on_cpu(&[]);
    let document = description(&server);
    let post = |path: &str| document["paths"][path]["post"].clone();
    let json = |part: &Value| part["content"]["application/json"].clone();
    for path in ["/works", "/works/verify"] {
        let body = json(&post(path)["requestBody"]);
        assert_fits(&document, &body["schema"], &body["example"]);
    }
    let work = json(&post("/works")["responses"]["200"]);
    assert_fits(&document, &work["schema"], &work["example"]);
    let verified = json(&post("/works/verify")["responses"]["200"]);
    let examples = verified["examples"].as_object().unwrap();
    assert_eq!(examples.len(), 2);
    for example in examples.values() {
        assert_fits(&document, &verified["schema"], &example["value"]);
    }
    // The work that one answer has as its example is the one that the other says is valid.
    let asked = json(&post("/works/verify")["requestBody"])["example"].clone();
    assert_eq!(asked["work"], work["example"]["work"]);
    let answer = exchange(
        server.address,
        &raw("POST", "/works/verify", "", &asked.to_string()),
    );
    assert_eq!(answer.json(), examples["valid"]["value"]);
    let mut asked = asked;
    asked["work"] = "0000000000000000".into();
    let answer = exchange(
        server.address,
        &raw("POST", "/works/verify", "", &asked.to_string()),
    );
    assert_eq!(answer.json(), examples["not valid"]["value"]);
}

#[test]
fn what_is_answered_is_as_described() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("as_described");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    // The keys are alice-has-this-key-0001 and bob-has-this-key-000001, hashed with Python's hashlib.
    let keys = "alice:blake2b-256:b26aaea4fea76fcbea5d397cdd63bdbd4a3c1e992fe00f4dcb48ad89b65487f6\nbob:blake2b-256:e9de73fd9374617ab1afd0775a790ec2fec078b477b04e4715d49f30724a32d7\n";
    fs::write(&file, keys).unwrap();
    let server = Server::on_cpu(
        &[
            &[
                "--threads",
                "1",
                "--kernel",
                "portable",
                "--body-timeout",
                "0.3",
            ][..],
            &[
                "--queue-size",
                "1",
                "--queue-capacity",
                "0",
                "--api-key-requests",
                "1",
            ],
            &["--api-keys-file", file.to_str().unwrap()],
        ]
        .concat(),
    );
    let document = description(&server);
    assert_eq!(document["security"], json!([{ "apiKey": [] }]));
    let alice = "authorization: Bearer alice-has-this-key-0001\r\n";
    let bob = "authorization: Bearer bob-has-this-key-000001\r\n";
    let mut easy = request("LOCAL", &target(1));
    easy["work"] = "0000000000000000".into();
    let easy = easy.to_string();
    // For what was answered before is not searched for again.
    let another = request("LOCAL", &target(3)).to_string();
    let mut seen = BTreeSet::new();
    let mut check = |path: &str, answer: &Response| {
        assert_described(&document, operation(&document, path, answer.status), answer);
        let body = answer.json();
        seen.insert(body["code"].as_str().unwrap_or("ok").to_owned());
    };
    for path in ["/works", "/works/verify"] {
        let ask = |text: &str| exchange(server.address, text);
        let right = raw("POST", path, alice, &easy);
        for asked in [
            right.clone(),
            raw("POST", path, alice, "{"),
            raw("POST", path, alice, "{}"),
            raw("POST", path, alice, &" ".repeat(16 * 1024 + 1)),
            raw("POST", path, "", &easy),
            raw(
                "POST",
                path,
                "authorization: Bearer nobody-has-this\r\n",
                &easy,
            ),
            right.replace("application/json", "text/plain"),
            right.replace("content-type", "content-encoding: gzip\r\ncontent-type"),
            right.replace("host: test\r\n", ""),
            // A body that does not come.
            raw("POST", path, alice, "").replace("length: 0", "length: 9"),
            raw("POST", path, alice, "").replace("content-length: 0", "transfer-encoding: chunked")
                + "no chunk\r\n",
        ] {
            check(path, &ask(&asked));
        }
    }
    let live = raw(
        "POST",
        "/works",
        alice,
        &request("LIVE", &target(2)).to_string(),
    );
    let mut searching = connect(server.address);
    searching.write_all(live.as_bytes()).unwrap();
    eventually("a search", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    for path in ["/works", "/works/verify"] {
        check(
            path,
            &exchange(server.address, &raw("POST", path, alice, &easy)),
        );
    }
    check(
        "/works",
        &exchange(server.address, &raw("POST", "/works", bob, &another)),
    );
    let elsewhere = [
        get(server.address, "/nothing"),
        get(server.address, "/works"),
    ];
    for answer in elsewhere {
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert_described(
            &document,
            &document["components"]["responses"][&code],
            &answer,
        );
        seen.insert(code);
    }
    let mut rest: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    rest.retain(|code| !seen.contains(*code));
    // A bug, and what takes a wrong clock, a list of hosts, broken devices, thousands of requests, the end of the service or much
    // time; other tests see those.
    let expected = [
        "CLOCK_WRONG",
        "DEADLINE_EXCEEDED",
        "HOST_NOT_ALLOWED",
        "INTERNAL",
        "NO_DEVICE",
        "OVERLOADED",
        "SHUTTING_DOWN",
    ];
    let expected = BTreeSet::from(expected);
    assert_eq!(rest, expected);
    assert!(seen.contains("ok"));
}

#[test]
fn the_api_page_has_the_table() {
    let page = include_str!("../../docs/api.md");
    let row = |code: &Code| {
        let (status, name) = (code.status().as_u16(), code.as_str());
        format!("| {status} | `{name}` | {} |", code.when())
    };
    for code in Code::ALL {
        assert!(page.contains(&row(code)), "{}", row(code));
    }
    let rows = page.lines().filter(|line| {
        let mut cells = line.split(" | ");
        cells
            .next()
            .is_some_and(|cell| cell.starts_with("| 4") || cell.starts_with("| 5"))
            && cells.next().is_some_and(|cell| cell.starts_with('`'))
    });
    assert_eq!(rows.count(), Code::ALL.len());
}

#[test]
fn an_answer_says_how_long_it_took() {
    let server = Server::on_cpu(&[]);
    let asked = request("LOCAL", &target(1));
    let answer = post_works(server.address, &asked.to_string());
    assert_work(&answer, &asked);
    let refused = post_works(server.address, "{}");
    assert_eq!(refused.status, 400);
    for (answer, expected) in [
        (answer, &["queue", "search", "total"][..]),
        (refused, &["total"]),
    ] {
        let header = answer.header("server-timing").expect("the header");
        let names = header.split(", ").map(|part| part.split(';').next());
        assert!(
            names.eq(expected.iter().map(|&name| Some(name))),
            "{header}"
        );
        for part in header.split(", ") {
            let (_, time) = part.split_once(";dur=").expect("a name and a time");
            let time: f64 = time.parse().expect("milliseconds");
            assert!((0.0..600_000.0).contains(&time), "{header}");
        }
    }
    assert!(!get(server.address, "/openapi.json").has("server-timing"));
}

/// The values of these attributes in a page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("{name}=\"");
    page.match_indices(&start)
        .map(|(at, _)| page[at + start.len()..].split('"').next().unwrap())
        .collect()
}

#[test]
fn the_pages_ask_no_other_machine() {
    let server = Server::on_cpu(&[]);
    let root = get(server.address, "/");
    assert_eq!(
        (root.status, root.header("location")),
        (302, Some("swagger-ui/index.html"))
    );
    let page = get(server.address, "/swagger-ui/index.html");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html"));
    let mut files = attributes(&page.body, "src");
    assert_eq!(files.len(), 3, "{}", page.body);
    files.extend(attributes(&page.body, "href"));
    assert_eq!(files.len(), 7, "{}", page.body);
    let types = [
        ("js", "javascript"),
        ("css", "text/css"),
        ("png", "image/png"),
    ];
    let (mut scripts, mut styles) = (String::new(), String::new());
    for file in files {
        // Relative, and below the page.
        let name = file.strip_prefix("./").unwrap_or(file);
        assert!(!name.contains([':', '/']), "{file}");
        let path = format!("/swagger-ui/{name}");
        if name.ends_with("png") {
            // It is no text.
            let head = exchange(
                server.address,
                &format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n"),
            );
            assert_eq!(
                (head.status, head.header("content-type")),
                (200, Some("image/png"))
            );
            continue;
        }
        let answer = get(server.address, &path);
        assert_eq!(answer.status, 200, "{name}");
        let (ending, content_type) = types
            .iter()
            .find(|(ending, _)| name.ends_with(ending))
            .unwrap();
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .contains(content_type)
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'self';") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        match *ending {
            "js" => scripts += &answer.body,
            _ => styles += &answer.body,
        }
    }
    assert!(page.header("content-security-policy").is_some());
    for url in styles.split("url(").skip(1) {
        assert!(
            url.trim_start_matches(['"', '\'']).starts_with("data:"),
            "{}",
            &url[..40]
        );
    }
    assert!(!styles.contains("@import"));
    // What a script would load another with.
    for quote in ['"', '\'', '`'] {
        for start in [
            "importScripts(",
            "import(",
            "fetch(",
            ".src=",
            "new Worker(",
        ] {
            for scheme in ["http:", "https:", "//"] {
                let wrong = format!("{start}{quote}{scheme}");
                assert!(!scripts.contains(&wrong), "{wrong}");
            }
        }
    }
    let start = get(server.address, "/swagger-ui/swagger-initializer.js").body;
    assert!(start.contains("\"url\": \"../openapi.json\""), "{start}");
    // Swagger UI would have a server of its makers check the description.
    assert!(start.contains("\"validatorUrl\": \"none\""), "{start}");
    assert!(!start.contains("http"), "{start}");
    for path in [
        "/swagger-ui",
        "/swagger-ui/nothing.js",
        "/swagger-ui/../works",
    ] {
        assert_eq!(get(server.address, path).status, 404, "{path}");
    }
}
