use super::*;

const ROOT: &str = "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2";

fn difficulties() -> Difficulties {
    Difficulties {
        base: Difficulty::NANO_SEND,
        most: Multiplier::new(64.0).unwrap(),
    }
}

fn parse(body: &str) -> Result<Command, Refusal> {
    Command::of(&Members::read(body.as_bytes())?, &difficulties())
}

/// The difficulty of `work_generate` with these further members.
fn generate(members: &str) -> Result<u64, String> {
    let body = format!(r#"{{"action":"work_generate","hash":"{ROOT}"{members}}}"#);
    match parse(&body) {
        Ok(Command::Generate { root, difficulty }) => {
            assert_eq!(root, parse_root(ROOT).unwrap());
            Ok(difficulty.get())
        }
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[test]
fn a_multiplier_takes_precedence_over_a_difficulty() {
    let cases = [
        ("", 0xffff_fff8_0000_0000),
        (r#","difficulty":null"#, 0xffff_fff8_0000_0000),
        (r#","difficulty":"fffffe0000000000""#, 0xffff_fe00_0000_0000),
        (r#","difficulty":"FFFFFE0000000000""#, 0xffff_fe00_0000_0000),
        (r#","difficulty":"0""#, 0),
        // The digits of a number are hex digits as well.
        (r#","difficulty":10"#, 0x10),
        (r#","multiplier":"1.0""#, 0xffff_fff8_0000_0000),
        (r#","multiplier":"0.015625""#, 0xffff_fe00_0000_0000),
        (r#","multiplier":1.5"#, 0xffff_fffa_aaaa_aaab),
        (r#","multiplier":8"#, 0xffff_ffff_0000_0000),
        (r#","multiplier":64"#, 0xffff_ffff_e000_0000),
        (r#","multiplier":"1e-12""#, 0),
        (
            r#","difficulty":"fffffffff0000000","multiplier":"1""#,
            0xffff_fff8_0000_0000,
        ),
        (
            r#","version":"work_1","timeout":5,"use_peers":true,"account":[],"block":{"type":"state"},"id":null"#,
            0xffff_fff8_0000_0000,
        ),
    ];
    for (members, difficulty) in cases {
        assert_eq!(generate(members), Ok(difficulty), "{members}");
    }
}

#[test]
fn what_is_too_hard_is_refused_as_nano_node_refuses_it() {
    for members in [
        r#","difficulty":"ffffffffe0000001""#,
        r#","difficulty":"ffffffffffffffff""#,
        r#","multiplier":"64.1""#,
        r#","multiplier":"1e12""#,
        r#","multiplier":"1e300""#,
    ] {
        let told = "Difficulty above config limit or below publish threshold";
        assert_eq!(generate(members), Err(told.to_owned()), "{members}");
    }
    assert_eq!(
        generate(r#","difficulty":"ffffffffe0000000""#),
        Ok(0xffff_ffff_e000_0000)
    );
}

#[test]
fn the_first_wrong_member_is_named() {
    let cases = [
        (r#","difficulty":"""#, "Bad difficulty"),
        (r#","difficulty":"0x1""#, "Bad difficulty"),
        (r#","difficulty":"g""#, "Bad difficulty"),
        (r#","difficulty":"+1""#, "Bad difficulty"),
        (r#","difficulty":"00000000000000001""#, "Bad difficulty"),
        (r#","difficulty":-1"#, "Bad difficulty"),
        (r#","difficulty":[]"#, "Bad difficulty"),
        (r#","difficulty":"x","multiplier":"1""#, "Bad difficulty"),
        (r#","multiplier":"""#, "Bad multiplier"),
        (r#","multiplier":0"#, "Bad multiplier"),
        (r#","multiplier":"-1""#, "Bad multiplier"),
        (r#","multiplier":"NaN""#, "Bad multiplier"),
        (r#","multiplier":"inf""#, "Bad multiplier"),
        (r#","multiplier":"1e999""#, "Bad multiplier"),
        (r#","multiplier":"1,5""#, "Bad multiplier"),
        (r#","multiplier":true"#, "Bad multiplier"),
        (r#","version":"work_2""#, "Bad work version"),
        (r#","version":"""#, "Bad work version"),
        (r#","version":1"#, "Bad work version"),
    ];
    for (members, told) in cases {
        assert_eq!(generate(members), Err(told.to_owned()), "{members}");
    }
}

#[test]
fn a_work_is_a_number_of_up_to_sixteen_digits() {
    let validate = |members: &str| {
        let body = format!(r#"{{"action":"work_validate","hash":"{ROOT}"{members}}}"#);
        match parse(&body) {
            Ok(Command::Validate {
                work, difficulty, ..
            }) => Ok((work.nonce().get(), difficulty.map(Difficulty::get))),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.to_string()),
        }
    };
    let cases = [
        (
            r#","work":"2bf29ef00786a6bc""#,
            (0x2bf2_9ef0_0786_a6bc, None),
        ),
        (r#","work":"A6BC""#, (0xa6bc, None)),
        (r#","work":0"#, (0, None)),
        (r#","work":"1","difficulty":"2""#, (1, Some(2))),
        (
            r#","work":"1","difficulty":"2","multiplier":"1""#,
            (1, Some(0xffff_fff8_0000_0000)),
        ),
        // A difficulty above the limit can still be checked.
        (
            r#","work":"1","difficulty":"ffffffffffffffff""#,
            (1, Some(u64::MAX)),
        ),
        (r#","work":"1","multiplier":"1""#, (1, None)),
    ];
    for (members, expected) in cases {
        assert_eq!(validate(members), Ok(expected), "{members}");
    }
    for (members, told) in [
        ("", "Failed to deserialize JSON"),
        (r#","work":"""#, "Bad work"),
        (r#","work":"0x1""#, "Bad work"),
        (r#","work":"00000000000000001""#, "Bad work"),
        (r#","work":"1","difficulty":"z""#, "Bad difficulty"),
        (r#","work":"1","multiplier":"z""#, "Bad multiplier"),
        (r#","work":"1","version":"2""#, "Bad work version"),
    ] {
        assert_eq!(validate(members), Err(told.to_owned()), "{members}");
    }
}

#[test]
fn an_action_needs_its_own_members_only() {
    assert_eq!(parse(r#"{"action":"status"}"#).unwrap(), Command::Status);
    let root = parse_root(ROOT).unwrap();
    let lower = format!(
        r#"{{"hash":"{}","action":"work_cancel"}}"#,
        ROOT.to_lowercase()
    );
    assert_eq!(parse(&lower).unwrap(), Command::Cancel { root });
    for (body, told) in [
        (r#"{}"#, "Failed to deserialize JSON"),
        (r#"{"hash":"00"}"#, "Failed to deserialize JSON"),
        (r#"{"action":"benchmark"}"#, "Unknown command"),
        (r#"{"action":"Work_generate"}"#, "Unknown command"),
        (r#"{"action":1}"#, "Unknown command"),
        (
            r#"{"action":"work_generate"}"#,
            "Failed to deserialize JSON",
        ),
        (
            r#"{"action":"work_cancel","hash":null}"#,
            "Failed to deserialize JSON",
        ),
        (r#"{"action":"work_cancel","hash":"00"}"#, "Bad block hash"),
        (r#"{"action":"work_generate","hash":[]}"#, "Bad block hash"),
        (r#"{"action":"work_generate","hash":0}"#, "Bad block hash"),
    ] {
        assert_eq!(parse(body).unwrap_err().to_string(), told, "{body}");
    }
}
