//! The twelve rounds as text for the assembler, shared by the kernels in assembly.
//!
//! The macros expand to one string literal. Each kernel's file defines the operations in its own instructions. Letters
//! are the numbers of state words, and `who` names the kernel's stream that the words belong to:
//!
//! ```text
//! add_message!(who v m)                 v += m, one of the message words that are not zero, 0 to 4
//! add!(who [v w] ...)                   v += w
//! xor_rotr!(who n, [v w] ...)           v = (v ^ w) >>> n
//! add_xor_rotr!(who n, [c d b] ...)     c += d, and b = (b ^ c) >>> n where there is a b
//! ```
//!
//! Each operation gets the words of all four mixes of a half round, so that neighbouring instructions never depend on
//! each other. [`add_xor_rotr`] is made of the other operations. A kernel may define it in its own way, to choose the
//! order of the mixes or to be done with `c` early.
//!
//! A kernel whose streams always do the same has one name for them, `all`, or one for each order of its operations. If
//! stream `a` is in another round than stream `b`, `both` names the two in lock step, and [`both`] gives each its own
//! message words.

/// `v += m` for each `[v m]`. Message words from 5 on are zero, so no instruction adds them.
macro_rules! add_word {
    (both $([$v:tt ($a:tt $b:tt)])*) => { concat!($(add_word!(one a $v $a), add_word!(one b $v $b),)*) };
    ($who:tt $([$v:tt $m:tt])*) => { concat!($(add_word!(one $who $v $m),)*) };
    (one $who:tt $v:tt 0) => { add_message!($who $v 0) };
    (one $who:tt $v:tt 1) => { add_message!($who $v 1) };
    (one $who:tt $v:tt 2) => { add_message!($who $v 2) };
    (one $who:tt $v:tt 3) => { add_message!($who $v 3) };
    (one $who:tt $v:tt 4) => { add_message!($who $v 4) };
    (one $who:tt $v:tt $zero:tt) => { "" };
}

/// `c += d` for each `[c d b]` or `[c d]`, then `b = (b ^ c) >>> n` for each `b`.
macro_rules! add_xor_rotr {
    ($who:tt $n:tt, $([$c:tt $d:tt $($b:tt)?])*) => { concat!(
        add!($who $([$c $d])*),
        xor_rotr!($who $n, $($([$b $c])?)*),
    ) };
}

/// Half of `G` for each `[a b c d m]`, with message word `m` and rotations by `r1` and `r2`.
macro_rules! half {
    ($who:tt $r1:tt $r2:tt, $([$a:tt $b:tt $c:tt $d:tt $m:tt])*) => { concat!(
        add_word!($who $([$a $m])*),
        add!($who $([$a $b])*),
        xor_rotr!($who $r1, $([$d $a])*),
        add_xor_rotr!($who $r2, $([$c $d $b])*),
    ) };
}

/// The first half of the columns of a round, with its row of `SIGMA`.
#[rustfmt::skip]
macro_rules! columns_1 {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt $($rest:tt)*]) => {
        half!($who 32 24, [0 4 8 12 $s0] [1 5 9 13 $s2] [2 6 10 14 $s4] [3 7 11 15 $s6])
    };
}

/// The second half of the columns.
#[rustfmt::skip]
macro_rules! columns_2 {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt $($rest:tt)*]) => {
        half!($who 16 63, [0 4 8 12 $s1] [1 5 9 13 $s3] [2 6 10 14 $s5] [3 7 11 15 $s7])
    };
}

/// The first half of the diagonals.
#[rustfmt::skip]
macro_rules! diagonals_1 {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
              $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt]) => {
        half!($who 32 24, [0 5 10 15 $s8] [1 6 11 12 $s10] [2 7 8 13 $s12] [3 4 9 14 $s14])
    };
}

/// The second half of the diagonals.
#[rustfmt::skip]
macro_rules! diagonals_2 {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
              $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt]) => {
        half!($who 16 63, [0 5 10 15 $s9] [1 6 11 12 $s11] [2 7 8 13 $s13] [3 4 9 14 $s15])
    };
}

/// A half of the columns or diagonals for both streams in lock step, each with its own row.
macro_rules! both {
    ($half:ident [$($a:tt)*] [$($b:tt)*]) => { $half!(both [$(($a $b))*]) };
}

/// The columns of a round.
macro_rules! columns {
    ($who:tt $row:tt) => { concat!(columns_1!($who $row), columns_2!($who $row)) };
}

/// The diagonals of a round.
macro_rules! diagonals {
    ($who:tt $row:tt) => { concat!(diagonals_1!($who $row), diagonals_2!($who $row)) };
}

/// One round with its row of `SIGMA`: the columns, then the diagonals.
macro_rules! round {
    ($who:tt $row:tt) => { concat!(columns!($who $row), diagonals!($who $row)) };
}

/// The columns of round 1, from where the midstate leaves it: column 0.
macro_rules! first_columns {
    ($who:tt [$s0:tt $s1:tt $($rest:tt)*]) => { concat!(
        add_word!($who [0 $s0]),
        xor_rotr!($who 32, [12 0]),
        add_xor_rotr!($who 24, [8 12 4]),
        half!($who 16 63, [0 4 8 12 $s1]),
    ) };
}

/// The diagonals of round 1. The midstate has `v1 + v6`, `v2 + v7` and the first step of `v13` already.
#[rustfmt::skip]
macro_rules! first_diagonals {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
              $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt]) => { concat!(
        add_word!($who [0 $s8] [3 $s14]),
        add!($who [0 5] [3 4]),
        xor_rotr!($who 32, [15 0] [12 1] [14 3]),
        add_xor_rotr!($who 24, [10 15 5] [11 12 6] [8 13 7] [9 14 4]),
        half!($who 16 63, [0 5 10 15 $s9] [1 6 11 12 $s11] [2 7 8 13 $s13] [3 4 9 14 $s15]),
    ) };
}

/// Round 1, from where the midstate leaves it.
macro_rules! first_round {
    ($who:tt $row:tt) => { concat!(first_columns!($who $row), first_diagonals!($who $row)) };
}

/// The second half of the columns of round 12, without `v4` and `v6`.
#[rustfmt::skip]
macro_rules! last_columns_2 {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt $($rest:tt)*]) => { concat!(
        add_word!($who [0 $s1] [1 $s3] [2 $s5] [3 $s7]),
        add!($who [0 4] [1 5] [2 6] [3 7]),
        xor_rotr!($who 16, [12 0] [13 1] [14 2] [15 3]),
        add_xor_rotr!($who 63, [8 12] [9 13 5] [10 14] [11 15 7]),
    ) };
}

/// The diagonals of round 12 that end in `v0` and `v8`.
#[rustfmt::skip]
macro_rules! last_diagonals {
    ($who:tt [$s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
              $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt]) => { concat!(
        half!($who 32 24, [0 5 10 15 $s8] [2 7 8 13 $s12]),
        add_word!($who [0 $s9] [2 $s13]),
        add!($who [0 5] [2 7]),
        xor_rotr!($who 16, [13 2]),
        add!($who [8 13]),
    ) };
}

/// The part of round 12 that `v0` and `v8` depend on.
macro_rules! last_round {
    ($who:tt $row:tt) => { concat!(
        columns_1!($who $row),
        last_columns_2!($who $row),
        last_diagonals!($who $row),
    ) };
}

/// All twelve rounds of all streams, from what `rows_of_rounds!` gives.
macro_rules! rounds {
    ($($rows:tt)*) => { rounds_of!(all $($rows)*) };
}

/// All twelve rounds of one stream, or of streams that always do the same.
macro_rules! rounds_of {
    ($who:tt first $first:tt middle $([$($middle:tt)*])* last $last:tt) => {
        concat!(first_round!($who $first), $(round!($who [$($middle)*]),)* last_round!($who $last))
    };
}
