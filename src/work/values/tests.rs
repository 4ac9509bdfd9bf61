use proptest::prelude::*;

use super::*;

#[test]
fn a_target_is_64_hex_digits_of_either_case() {
    let target: Target = "0a".repeat(32).parse().unwrap();
    assert_eq!(target, Target::new([10; 32]));
    assert_eq!(target.to_string(), "0A".repeat(32));
    assert_eq!("0A".repeat(32).parse(), Ok(target));
}

#[test]
fn an_invalid_target_is_an_error_with_the_rule() {
    let cases = [
        (
            String::new(),
            "target has 0 characters; it must be 64 hex digits",
        ),
        (
            "00".repeat(31),
            "target has 62 characters; it must be 64 hex digits",
        ),
        (
            "0".repeat(63),
            "target has 63 characters; it must be 64 hex digits",
        ),
        (
            "00".repeat(33),
            "target has 66 characters; it must be 64 hex digits",
        ),
        (
            "0x".repeat(32),
            "target has the character 'x' at position 1; only hex digits are allowed",
        ),
        (
            format!("{}é", "0".repeat(62)),
            "target has the character 'é' at position 62; only hex digits are allowed",
        ),
    ];
    for (text, message) in cases {
        let error = text.parse::<Target>().unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.field(), "target");
    }
}

#[test]
fn a_nonce_is_written_as_its_little_endian_bytes() {
    let nonce = Nonce::new(0x0123_4567_89AB_CDEF);
    assert_eq!(nonce.to_string(), "EFCDAB8967452301");
    assert_eq!("efcdab8967452301".parse(), Ok(nonce));
    assert_eq!("EFCDAB89".parse::<Nonce>().unwrap_err().field(), "work");
}

#[test]
fn the_words_of_a_target_are_little_endian() {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes[31] = 2;
    assert_eq!(Target::new(bytes).words(), [1, 0, 0, 2 << 56]);
}

#[test]
fn expected_hashes_are_those_of_the_protocol() {
    for (threshold, expected) in [
        (u64::MAX, 1.0),
        (4_294_967_295, 4_294_967_296.0),
        (0, 18_446_744_073_709_551_616.0),
    ] {
        assert_eq!(Threshold::new(threshold).expected_hashes(), expected);
    }
}

proptest! {
    #[test]
    fn targets_and_nonces_are_unchanged_by_hex(bytes: [u8; 32], nonce: u64) {
        let (target, nonce) = (Target::new(bytes), Nonce::new(nonce));
        prop_assert_eq!(target.to_string().parse(), Ok(target));
        prop_assert_eq!(nonce.to_string().parse(), Ok(nonce));
    }

    #[test]
    fn no_text_makes_the_hex_parser_panic(text: String) {
        let _ = text.parse::<Target>();
        let _ = text.parse::<Nonce>();
    }
}
