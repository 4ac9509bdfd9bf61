use proptest::prelude::*;

use super::*;
use crate::work::{Rule, Work, digest};

const FIRST_ROOT: &str = "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2";

/// Works that were published elsewhere, or are in daily use: root, work, digest, multiplier to Nano's base, and whether
/// the work is valid for a send and for a receive.
const KNOWN: [(&str, &str, u64, &str, bool, bool); 7] = [
    (
        FIRST_ROOT,
        "2b3d689bbcb21dca",
        0xffff_fff9_3c41_ec94,
        "1.182623871097636",
        true,
        true,
    ),
    (
        FIRST_ROOT,
        "2bf29ef00786a6bc",
        0xffff_ffd2_1c39_33f4,
        "0.174330860917187",
        false,
        true,
    ),
    (
        FIRST_ROOT,
        "0",
        0x6b90_c9aa_b5d6_6034,
        "0.000000003212443",
        false,
        false,
    ),
    (
        "3F93C5CD2E314FA16702189041E68E68C07B27961BF37F0B7705145BEFBA3AA3",
        "205452237a9b01f4",
        0xffff_ffff_2877_41bf,
        "9.501974378880858",
        true,
        true,
    ),
    (
        "E89208DD038FBB269987689621D52292AE9C35941A7484756ECCED92A65093BA",
        "62f05417dd3fb691",
        0xffff_fff4_000d_3dac,
        "0.666677891310542",
        false,
        true,
    ),
    (
        "991CF190094C00F0B68E2E5F75F6BEE95A2E0BD93CEAA4A6734DB9F19B728948",
        "3c82cc724905ee95",
        0xffff_ffdc_89d4_625e,
        "0.225596118559023",
        false,
        true,
    ),
    (
        "2514452A978F08D1CF76BB40B6AD064183CF275D3CC5D3E0515DC96E2112AD4E",
        "fa055f79fa56abcf",
        0xffff_fffc_c195_40e9,
        "2.466230885829833",
        true,
        true,
    ),
];

#[test]
fn published_works_have_their_digests_and_multipliers() {
    for (root, work, value, multiplier, send, receive) in KNOWN {
        let root = parse_root(root).unwrap();
        let nonce = work.parse::<NanoWork>().unwrap().nonce();
        let digest = digest(nonce, &root);
        assert_eq!(digest, Digest::new(value), "{work}");
        let reached = Difficulty::from(digest);
        assert_eq!(
            reached.multiplier(Difficulty::NANO_SEND).to_string(),
            multiplier
        );
        let is_valid = |difficulty| Work::verify(nonce, &root, Rule::from(difficulty)).is_some();
        assert_eq!(is_valid(Difficulty::NANO_SEND), send, "{work}");
        assert_eq!(is_valid(Difficulty::NANO_RECEIVE), receive, "{work}");
        // Equality is valid, and one more is not.
        assert!(is_valid(reached));
        assert!(!is_valid(Difficulty::new(value + 1)));
        // No Nano work is one of Atto by the same bound.
        assert!(Work::verify(nonce, &root, Threshold::new(value - 1).into()).is_none());
    }
}

/// The first of the known works, with each part of it in the wrong order.
#[test]
fn wrong_byte_orders_give_other_digests() {
    let root = parse_root(FIRST_ROOT).unwrap();
    let nonce = Nonce::new(0x2b3d_689b_bcb2_1dca);
    let right = digest(nonce, &root).get();
    assert_eq!(right.swap_bytes(), 0x94ec_413c_f9ff_ffff);
    let swapped = Nonce::new(nonce.get().swap_bytes());
    assert_eq!(digest(swapped, &root), Digest::new(0x045c_0552_5df5_86c9));
    let mut reversed = *root.as_bytes();
    reversed.reverse();
    let reversed = digest(nonce, &Target::new(reversed));
    assert_eq!(reversed, Digest::new(0xae18_11f0_12fd_78df));
    // Atto writes the same nonce the other way round.
    assert_eq!(NanoWork::from(nonce).to_string(), "2b3d689bbcb21dca");
    assert_eq!(nonce.to_string(), "CA1DB2BC9B683D2B");
}

#[test]
fn multipliers_and_difficulties_are_converted_as_nano_does() {
    let base = Difficulty::NANO_SEND;
    for (multiplier, difficulty) in [
        (1.0, "fffffff800000000"),
        (0.015_625, "fffffe0000000000"),
        (0.125, "ffffffc000000000"),
        (1.5, "fffffffaaaaaaaab"),
        (8.0, "ffffffff00000000"),
        (64.0, "ffffffffe0000000"),
        (1e-12, "0000000000000000"),
        (1e12, "ffffffffffffffff"),
        (f64::MIN_POSITIVE, "0000000000000000"),
        (f64::MAX, "ffffffffffffffff"),
    ] {
        let multiplier = Multiplier::new(multiplier).unwrap();
        let converted = multiplier.difficulty(base);
        assert_eq!(converted.to_string(), difficulty, "{multiplier}");
    }
    let multiplier = |difficulty| Difficulty::new(difficulty).multiplier(base).get();
    assert_eq!(multiplier(0), 2_f64.powi(35 - 64));
    assert_eq!(multiplier(u64::MAX), 2_f64.powi(35));
    assert_eq!(multiplier(base.get()), 1.0);
    // The base that admits everything.
    let everything = Difficulty::new(0);
    assert_eq!(base.multiplier(everything).get(), 2_f64.powi(64 - 35));
    assert_eq!(Multiplier(1.0).difficulty(everything), everything);
}

#[test]
fn multipliers_are_written_without_an_exponent() {
    for (value, text) in [
        (1.0, "1.000000000000000"),
        (1e-30, "0.000000000000000"),
        (2_f64.powi(35), "34359738368.000000000000000"),
    ] {
        assert_eq!(Multiplier::new(value).unwrap().to_string(), text);
    }
}

#[test]
fn a_multiplier_is_a_finite_number_above_zero() {
    for (text, value) in [("2", 2.0), ("1.0", 1.0), ("0.5", 0.5), ("1e3", 1000.0)] {
        assert_eq!(text.parse::<Multiplier>().unwrap().get(), value);
    }
    for text in [
        "", "0", "0.0", "-1", "nan", "inf", "infinity", "1e400", "1,5", "0x1", " 1", "1x",
    ] {
        let error = text.parse::<Multiplier>().unwrap_err();
        assert_eq!(error.field(), "multiplier");
        let message = format!("multiplier {text:?} is not a finite number above zero");
        assert_eq!(error.to_string(), message);
    }
    assert!(Multiplier::new(f64::NAN).is_err());
}

#[test]
fn numbers_are_1_to_16_hex_digits() {
    let difficulty = |text: &str| text.parse::<Difficulty>();
    assert_eq!(difficulty("FFFFFFF800000000"), Ok(Difficulty::NANO_SEND));
    assert_eq!(difficulty("0"), Ok(Difficulty::new(0)));
    assert_eq!(difficulty("0000000000000001"), Ok(Difficulty::new(1)));
    assert_eq!(Difficulty::new(1).to_string(), "0000000000000001");
    let work = |text: &str| text.parse::<NanoWork>().map(NanoWork::nonce);
    assert_eq!(work("aB"), Ok(Nonce::new(0xAB)));
    for (text, rule) in [
        ("", "has 0 characters; it must be 1 to 16 hex digits"),
        (
            "00000000000000000",
            "has 17 characters; it must be 1 to 16 hex digits",
        ),
        (
            "0xff",
            "has the character 'x' at position 1; only hex digits are allowed",
        ),
        (
            "+1",
            "has the character '+' at position 0; only hex digits are allowed",
        ),
    ] {
        for (field, error) in [
            ("difficulty", difficulty(text).unwrap_err()),
            ("work", work(text).unwrap_err()),
        ] {
            assert_eq!(error.field(), field);
            assert_eq!(error.to_string(), format!("{field} {rule}"));
        }
    }
}

#[test]
fn a_root_is_named_hash_in_errors() {
    let error = parse_root("00").unwrap_err();
    assert_eq!(error.field(), "hash");
    assert_eq!(
        error.to_string(),
        "hash has 2 characters; it must be 64 hex digits"
    );
}

#[test]
fn expected_hashes_are_those_of_the_protocol() {
    for (difficulty, expected) in [
        (Difficulty::NANO_SEND, 2_f64.powi(29)),
        (Difficulty::NANO_RECEIVE, 2_f64.powi(23)),
        (Difficulty::new(0xffff_ffc0_0000_0000), 2_f64.powi(26)),
        (Difficulty::new(0), 1.0),
        (Difficulty::new(u64::MAX), 2_f64.powi(64)),
    ] {
        assert_eq!(difficulty.expected_hashes(), expected, "{difficulty}");
    }
}

proptest! {
    #[test]
    fn works_and_difficulties_are_unchanged_by_hex(value: u64) {
        let (work, difficulty) = (NanoWork(Nonce::new(value)), Difficulty(value));
        prop_assert_eq!(work.to_string().parse(), Ok(work));
        prop_assert_eq!(difficulty.to_string().parse(), Ok(difficulty));
        prop_assert_eq!(work.to_string(), format!("{value:016x}"));
    }

    /// As Nano's own arithmetic, which converts in both directions.
    #[test]
    fn a_difficulty_survives_its_multiplier_but_for_rounding(difficulty: u64, base: u64) {
        let (difficulty, base) = (Difficulty(difficulty), Difficulty(base));
        let converted = difficulty.multiplier(base).difficulty(base);
        let (valid, after) = (difficulty.valid_digests(), converted.valid_digests());
        prop_assert!((valid - after).abs() <= 1.0 + valid * 1e-15, "{valid} {after}");
    }

    #[test]
    fn a_larger_multiplier_is_never_easier(a in 1e-12..1e12, b in 1e-12..1e12, base: u64) {
        let of = |multiplier: f64| Multiplier(multiplier).difficulty(Difficulty(base));
        prop_assert_eq!(of(f64::max(a, b)), Ord::max(of(a), of(b)));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text: String) {
        let _ = parse_root(&text);
        let _ = text.parse::<NanoWork>();
        let _ = text.parse::<Difficulty>();
        let _ = text.parse::<Multiplier>();
    }
}
