//! The message schedule of Blake2b, `SIGMA` (RFC 7693, 2.7): the only text of it in the library.
//!
//! Kernels in assembly need its numbers as tokens, generic ones as const arguments. So the text is a macro, and the
//! table is made from it. Shaders cannot include it; the test below compares `shaders/work.wgsl` with it.

/// Calls the macro `$use` with the row of each of the twelve rounds: that of round 1, those of rounds 2 to 11, and that
/// of round 12.
///
/// ```text
/// $use! { first [0 1 2 …] middle [14 10 4 …] … last [14 10 4 …] }
/// ```
macro_rules! rows_of_rounds {
    ($use:ident) => {
        rows_of_rounds! { $use
            [ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15]
            [14 10  4  8  9 15 13  6  1 12  0  2 11  7  5  3]
            [11  8 12  0  5  2 15 13 10 14  3  6  7  1  9  4]
            [ 7  9  3  1 13 12 11 14  2  6  5 10  4  0 15  8]
            [ 9  0  5  7  2  4 10 15 14  1 11 12  6  8  3 13]
            [ 2 12  6 10  0 11  8  3  4 13  7  5 15 14  1  9]
            [12  5  1 15 14 13  4 10  0  7  6  3  9  2  8 11]
            [13 11  7 14 12  1  3  9  5  0 15  4  8  6  2 10]
            [ 6 15 14  9 11  3  0  8 12  2 13  7  1  4 10  5]
            [10  2  8  4  7  6  1  5 15 11  9 14  3 12 13  0]
        }
    };
    // There are ten rows for twelve rounds: the last two rounds take the first two rows again.
    ($use:ident $row_0:tt $row_1:tt $($row:tt)*) => {
        $use! { first $row_0 middle $row_1 $($row)* $row_0 last $row_1 }
    };
}

/// The row of each round.
pub(super) const SIGMA: [[usize; 16]; 12] = {
    macro_rules! table {
        (first [$($first:tt)*] middle $([$($middle:tt)*])* last [$($last:tt)*]) => {
            [[$($first),*], $([$($middle),*],)* [$($last),*]]
        };
    }
    rows_of_rounds!(table)
};

#[cfg(test)]
mod tests {
    use super::SIGMA;

    /// The state words that a round's eight steps mix: columns, then diagonals.
    const STEPS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ];

    /// Steps of a round (counted from 0) as the shader writes them. Only the message words `m0` to `m4` are not zero.
    fn expected(round: usize, steps: &[usize], message: &str) -> Vec<String> {
        let step = |&step: &usize| {
            let [a, b, c, d] = STEPS[step];
            let [x, y] = [SIGMA[round][2 * step], SIGMA[round][2 * step + 1]];
            let word = |word: usize, name| {
                let is_zero = word > 4;
                let argument = format!(", {message}m{word}");
                if is_zero {
                    ("", String::new())
                } else {
                    (name, argument)
                }
            };
            let ((x_name, x), (y_name, y)) = (word(x, "x"), word(y, "y"));
            format!("g{x_name}{y_name}(&v{a}, &v{b}, &v{c}, &v{d}{x}{y});")
        };
        steps.iter().map(step).collect()
    }

    /// The steps that the shader's text has between two texts, of which each must be there.
    fn in_shader(from: &str, to: &str) -> Vec<&'static str> {
        let shader = include_str!("../../shaders/work.wgsl");
        let (_, rest) = shader.split_once(from).expect(from);
        let (text, _) = rest.split_once(to).expect(to);
        let lines = text.lines().map(str::trim);
        lines.filter(|line| line.starts_with('g')).collect()
    }

    #[test]
    fn the_shader_has_the_same_schedule() {
        for round in 1..11 {
            let (from, to) = (
                format!("// Round {}", round + 1),
                format!("// Round {}", round + 2),
            );
            let every = expected(round, &[0, 1, 2, 3, 4, 5, 6, 7], "");
            assert_eq!(in_shader(&from, &to), every, "{from}");
        }
        // Two diagonals of round 12 do not reach the digest.
        assert_eq!(
            in_shader("// Round 12", "return"),
            expected(11, &[0, 1, 2, 3, 4, 6], "")
        );
    }

    #[test]
    fn the_shader_has_the_same_schedule_in_round_1() {
        let fixed = in_shader("fn midstate_of", "return");
        assert_eq!(fixed, expected(0, &[1, 2, 3], "slice."));
        // Column 0 and parts of two diagonals are written out.
        assert_eq!(
            in_shader("// Round 1:", "// Round 2"),
            expected(0, &[4, 7], "")
        );
        assert_eq!(SIGMA[0][..2], [0, 1]);
        let shader = include_str!("../../shaders/work.wgsl");
        for word in [
            "var v0 = add(word(0xbb1838e7u, 0xa0a44bd1u), m0);",
            "v0 = add(v0, m1);",
        ] {
            assert!(shader.contains(word), "{word}");
        }
        assert!(
            SIGMA[0][8..].iter().all(|&word| word > 4),
            "no word for a diagonal"
        );
    }
}
