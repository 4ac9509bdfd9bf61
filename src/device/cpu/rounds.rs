//! The twelve rounds as text for the assembler, shared by the kernels in assembly.
//!
//! The macros expand to one string literal. Each kernel's file defines the operations in its own instructions, where
//! letters are the numbers of state words:
//!
//! ```text
//! add_message!(v m)                 v += m, one of the message words that are not zero, 0 to 4
//! add!([v w] ...)                   v += w
//! xor_rotr!(n, [v w] ...)           v = (v ^ w) >>> n
//! add_xor_rotr!(n, [c d b] ...)     c += d, and b = (b ^ c) >>> n where there is a b
//! ```
//!
//! Each operation gets the words of all four mixes of a half round, so that neighbouring instructions never depend on
//! each other. [`add_xor_rotr`] is made of the other operations. A kernel may define it in its own way, to choose the
//! order of the mixes or to be done with `c` early.

/// `v += m` for each `[v m]`. Message words from 5 on are zero, so no instruction adds them.
macro_rules! add_word {
    ($([$v:tt $m:tt])*) => { concat!($(add_word!($v $m),)*) };
    ($v:tt 0) => { add_message!($v 0) };
    ($v:tt 1) => { add_message!($v 1) };
    ($v:tt 2) => { add_message!($v 2) };
    ($v:tt 3) => { add_message!($v 3) };
    ($v:tt 4) => { add_message!($v 4) };
    ($v:tt $zero:tt) => { "" };
}

/// `c += d` for each `[c d b]` or `[c d]`, then `b = (b ^ c) >>> n` for each `b`.
macro_rules! add_xor_rotr {
    ($n:tt, $([$c:tt $d:tt $($b:tt)?])*) => { concat!(
        add!($([$c $d])*),
        xor_rotr!($n, $($([$b $c])?)*),
    ) };
}

/// Half of `G` for each `[a b c d m]`, with message word `m` and rotations by `r1` and `r2`.
macro_rules! half {
    ($r1:tt $r2:tt, $([$a:tt $b:tt $c:tt $d:tt $m:tt])*) => { concat!(
        add_word!($([$a $m])*),
        add!($([$a $b])*),
        xor_rotr!($r1, $([$d $a])*),
        add_xor_rotr!($r2, $([$c $d $b])*),
    ) };
}

/// The mixing function `G` for each `[a b c d x y]`, with message words `x` and `y`.
macro_rules! mix {
    ($([$a:tt $b:tt $c:tt $d:tt $x:tt $y:tt])*) => { concat!(
        half!(32 24, $([$a $b $c $d $x])*),
        half!(16 63, $([$a $b $c $d $y])*),
    ) };
}

/// One round with its row of `SIGMA`: the columns, then the diagonals.
#[rustfmt::skip]
macro_rules! round {
    ($s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
     $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt) => { concat!(
        mix!([0 4  8 12 $s0 $s1] [1 5  9 13  $s2  $s3] [2 6 10 14  $s4  $s5] [3 7 11 15  $s6  $s7]),
        mix!([0 5 10 15 $s8 $s9] [1 6 11 12 $s10 $s11] [2 7  8 13 $s12 $s13] [3 4  9 14 $s14 $s15]),
    ) };
}

/// Round 1, from where the midstate leaves it: column 0, and the diagonals.
#[rustfmt::skip]
macro_rules! first_round {
    ($s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
     $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt) => { concat!(
        add_word!([0 $s0]),
        xor_rotr!(32, [12 0]),
        add_xor_rotr!(24, [8 12 4]),
        half!(16 63, [0 4 8 12 $s1]),
        // The first half of the diagonals. The midstate has v1 + v6, v2 + v7 and the first step of v13 already.
        add_word!([0 $s8] [3 $s14]),
        add!([0 5] [3 4]),
        xor_rotr!(32, [15 0] [12 1] [14 3]),
        add_xor_rotr!(24, [10 15 5] [11 12 6] [8 13 7] [9 14 4]),
        half!(16 63, [0 5 10 15 $s9] [1 6 11 12 $s11] [2 7 8 13 $s13] [3 4 9 14 $s15]),
    ) };
}

/// The part of round 12 that `v0` and `v8` depend on.
#[rustfmt::skip]
macro_rules! last_round {
    ($s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt
     $s8:tt $s9:tt $s10:tt $s11:tt $s12:tt $s13:tt $s14:tt $s15:tt) => { concat!(
        half!(32 24, [0 4 8 12 $s0] [1 5 9 13 $s2] [2 6 10 14 $s4] [3 7 11 15 $s6]),
        // The second half of the columns, without `v4` and `v6`.
        add_word!([0 $s1] [1 $s3] [2 $s5] [3 $s7]),
        add!([0 4] [1 5] [2 6] [3 7]),
        xor_rotr!(16, [12 0] [13 1] [14 2] [15 3]),
        add_xor_rotr!(63, [8 12] [9 13 5] [10 14] [11 15 7]),
        // The diagonals that end in `v0` and `v8`.
        half!(32 24, [0 5 10 15 $s8] [2 7 8 13 $s12]),
        add_word!([0 $s9] [2 $s13]),
        add!([0 5] [2 7]),
        xor_rotr!(16, [13 2]),
        add!([8 13]),
    ) };
}

/// All twelve rounds, from what `rows_of_rounds!` gives.
macro_rules! rounds {
    (first [$($first:tt)*] middle $([$($middle:tt)*])* last [$($last:tt)*]) => {
        concat!(first_round!($($first)*), $(round!($($middle)*),)* last_round!($($last)*))
    };
}
