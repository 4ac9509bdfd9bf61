//! Whole numbers in any spelling that JSON has for them.

use serde_json::value::RawValue;

/// The value of a JSON number, or of a JSON string that holds one, if it is whole and fits into 64 bits: `1000`, `1000.0`,
/// `1e3` and `"1000"` are the same. Digits are read as they stand: a double would round a fraction away.
pub(super) fn whole(value: &RawValue) -> Option<i64> {
    let text = value.get();
    if !text.starts_with('"') {
        return read(text);
    }
    let text: String = serde_json::from_str(text).ok()?;
    // No space around it: such a text is not a number.
    let number: &RawValue = serde_json::from_str(&text).ok()?;
    (number.get() == text).then(|| read(&text)).flatten()
}

/// The value of a JSON number. `number` may also be other JSON.
fn read(number: &str) -> Option<i64> {
    let (digits, exponent) = match number.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse().ok()?),
        None => (number, 0_i64),
    };
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let sign = if before.starts_with('-') { "-" } else { "" };
    let digits = format!("{}{after}", &before[sign.len()..]);
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() && !digits.is_empty() {
        return Some(0);
    }
    // Where the point is, counted from the last significant digit: before it, this is a fraction.
    let scale = exponent.checked_sub(i64::try_from(after.len()).ok()?)?;
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = u32::try_from(scale.checked_add(zeros)?).ok()?;
    let significant: i64 = format!("{sign}{significant}").parse().ok()?;
    10_i64.checked_pow(power)?.checked_mul(significant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_of(text: &str) -> Option<i64> {
        whole(serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn every_spelling_of_a_whole_number_is_read() {
        for text in [
            "1795329945748",
            "1795329945748.0",
            "1795329945748.000000000000000000000",
            "1795329945748e0",
            "1795329945748E+0",
            "1.795329945748e12",
            "1.795329945748E+12",
            "17953299457480e-1",
            "0.001795329945748e15",
            "\"1795329945748\"",
            "\"1795329945748.0\"",
            "\"1.795329945748e12\"",
            "\"\\u0031795329945748\"",
        ] {
            assert_eq!(whole_of(text), Some(1_795_329_945_748), "{text}");
        }
        let cases = [
            ("0", 0),
            ("-0.0", 0),
            ("0e99", 0),
            ("-1e3", -1000),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("1e18", 1_000_000_000_000_000_000),
        ];
        for (text, value) in cases {
            assert_eq!(whole_of(text), Some(value), "{text}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for text in [
            "1.5",
            "1795329945748.0000000000000000000000001",
            "1e-1",
            "9223372036854775808",
            "-9223372036854775809",
            "1e19",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "10e9223372036854775807",
            "1.5e-9223372036854775808",
            "true",
            "null",
            "[1]",
            "{}",
            "\"\"",
            "\" 1\"",
            "\"1 \"",
            "\"01\"",
            "\"+1\"",
            "\"0x1\"",
            "\"1e\"",
            "\"1.\"",
            "\".5e1\"",
            "\"1_000\"",
            "\"true\"",
            "\"\\\"1\\\"\"",
            "\"2026-11-27T00:00:00Z\"",
        ] {
            assert_eq!(whole_of(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_value_is_that_of_the_digits(value: i64, zeros in 0_usize..40) {
            let fraction = format!("{value}.{}", "0".repeat(zeros + 1));
            proptest::prop_assert_eq!(whole_of(&fraction), Some(value));
            let scaled = format!("{value}{}e-{zeros}", "0".repeat(zeros));
            proptest::prop_assert_eq!(whole_of(&scaled), Some(value));
        }
    }
}
