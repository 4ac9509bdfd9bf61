//! Figures for people: three digits and a unit.

/// A number of hashes in three digits, such as `31.2 MH`.
pub(in crate::cli) fn hashes(count: f64) -> String {
    let (divisor, unit) = match count {
        ..1e3 => (1.0, "H"),
        ..1e6 => (1e3, "kH"),
        ..1e9 => (1e6, "MH"),
        ..1e12 => (1e9, "GH"),
        _ => (1e12, "TH"),
    };
    format!("{} {unit}", three_digits(count / divisor))
}

/// A time in three digits, such as `430 ms`.
pub(in crate::cli) fn seconds(seconds: f64) -> String {
    let (factor, unit) = match seconds {
        ..1e-3 => (1e6, "µs"),
        ..1.0 => (1e3, "ms"),
        _ => (1.0, "s"),
    };
    format!("{} {unit}", three_digits(seconds * factor))
}

fn three_digits(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let counts = [0.0, 999.0, 31_234_567.0, 9.876e9, 2e15];
        assert_eq!(
            counts.map(hashes),
            ["0.00 H", "999 H", "31.2 MH", "9.88 GH", "2000 TH"]
        );
        let times = [0.000_25, 0.043, 1.344, 137.4, 12_345.6];
        assert_eq!(
            times.map(seconds),
            ["250 µs", "43.0 ms", "1.34 s", "137 s", "12346 s"]
        );
    }
}
