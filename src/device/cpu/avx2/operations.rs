//! The operations of `rounds.rs` for one stream in AVX2, with or without a scalar hash beside it.
//!
//! State word `v` is in `ymm`v. A rotation by 63 needs a scratch register: `v15` lends its own and waits in memory until
//! the next exclusive or with it, which is always one before a rotation by 32.
//!
//! Two macros differ between the kernels, each of which defines them in its own file:
//!
//! ```text
//! frame!()                    the register that the memory operands of the text are based on
//! beside!(operation v ...)    the same operation for the scalar hash, or nothing
//! ```
//!
//! Every scalar instruction stands right behind the vector instruction of the same operation. The processor does not look
//! far ahead: on Zen 3 scalar instructions in pieces of nine cost 9 %.
//!
//! The scalar hash has sixteen state words and fifteen registers, so `v8` and `v11` share one. A half round is done with
//! one of them before it begins with the other, and the next half round needs them in the other order. So they swap once
//! in each half round: `beside!(swap v)` puts `v` away and fetches the other.

/// Each `v` becomes its word of the midstate.
macro_rules! load {
    ($($v:tt)*) => { concat!($(
        "vpbroadcastq ymm", $v, ", qword ptr [", frame!(), " + {state} + 8*", $v, "]\n",
        beside!(load $v),
    )*) };
}

/// `v += m`.
#[rustfmt::skip]
macro_rules! add_message {
    (all $v:tt $m:tt) => { concat!(
        "vpaddq ymm", $v, ", ymm", $v, ", ymmword ptr [", frame!(), " + {message} + 32*", $m, "]\n",
        beside!(add_message $v $m),
    ) };
}

/// `v += w`, for each pair.
macro_rules! add {
    (all $([$v:tt $w:tt])*) => { concat!($(
        "vpaddq ymm", $v, ", ymm", $v, ", ymm", $w, "\n",
        beside!(add $v $w),
    )*) };
}

/// `v = (v ^ w) >>> n`, for each pair.
macro_rules! xor_rotr {
    (all $n:tt, $([$v:tt $w:tt])*) => { concat!(
        $(vector_xor!($n, $v $w), beside!(xor $v $w),)*
        rotr!($n, $($v)*),
    ) };
}

/// `c += d` for each `[c d b]`, then `b = (b ^ c) >>> n` for each `b`. Of four mixes, first halves of `G` begin with `v8` and
/// end with `v11`, second halves the other way round.
macro_rules! add_xor_rotr {
    (all $n:tt, [8 $($with_8:tt)*] $x:tt $y:tt [11 $($with_11:tt)*]) => {
        add_xor_rotr!(four $n, [8 $($with_8)*] $x $y [11 $($with_11)*])
    };
    (all $n:tt, $y:tt [11 $($with_11:tt)*] [8 $($with_8:tt)*] $x:tt) => {
        add_xor_rotr!(four $n, [8 $($with_8)*] $x $y [11 $($with_11)*])
    };
    (all $n:tt, $($some:tt)*) => { concat!(
        add_then_xor!($($some)*),
        xor_then_rotr!($n, $($some)*),
    ) };
    (four 24, $with_8:tt $x:tt $y:tt $with_11:tt) => { concat!(
        add_then_xor!($with_8), beside!(swap 8), add_then_xor!($x $y $with_11),
        xor_then_rotr!(24, $with_8 $x $y $with_11),
    ) };
    (four 63, $with_8:tt $x:tt $y:tt $with_11:tt) => { concat!(
        add_then_xor!($with_11), beside!(swap 11), add_then_xor!($y $x $with_8),
        xor_then_rotr!(63, $with_11 $y $x $with_8),
    ) };
}

/// `c += d` for each `[c d b]`, and the scalar `b ^= c` at once: then the register of `c` is free.
macro_rules! add_then_xor {
    ($([$c:tt $d:tt $($b:tt)?])*) => { concat!($(
        add!(all [$c $d]),
        $(beside!(xor $b $c),)?
    )*) };
}

/// The rest of `b = (b ^ c) >>> n` for each `b`: the scalar exclusive or is done.
macro_rules! xor_then_rotr {
    ($n:tt, $([$c:tt $d:tt $($b:tt)?])*) => { concat!(
        $($(vector_xor!($n, $b $c),)?)*
        rotr!($n, $($($b)?)*),
    ) };
}

/// `v ^= w`, which comes before a rotation by `n`.
#[rustfmt::skip]
macro_rules! vector_xor {
    (32, 15 $w:tt) => { concat!("vpxor ymm15, ymm", $w, ", ymmword ptr [", frame!(), " + {v15}]\n") };
    ($n:tt, $v:tt $w:tt) => { concat!("vpxor ymm", $v, ", ymm", $v, ", ymm", $w, "\n") };
}

/// `v >>>= n`, for each `v`. AVX2 has no rotation: whole bytes take a shuffle; 63 bits take an addition, a shift and an or.
macro_rules! rotr {
    (63, $($v:tt)*) => { concat!(
        "vmovdqa ymmword ptr [", frame!(), " + {v15}], ymm15\n",
        $(
            "vpaddq ymm15, ymm", $v, ", ymm", $v, "\n",
            beside!(rotr 63 $v),
            "vpsrlq ymm", $v, ", ymm", $v, ", 63\n",
            "vpor ymm", $v, ", ymm", $v, ", ymm15\n",
        )*
    ) };
    ($n:tt, $($v:tt)*) => { concat!($(
        shuffle!($n $v),
        beside!(rotr $n $v),
    )*) };
}

/// `v >>>= n`, by whole bytes.
#[rustfmt::skip]
macro_rules! shuffle {
    (32 $v:tt) => { concat!("vpshufd ymm", $v, ", ymm", $v, ", 0xB1\n") };
    ($n:tt $v:tt) => { concat!(
        "vpshufb ymm", $v, ", ymm", $v, ", ymmword ptr [", frame!(), " + {rotate_", $n, "}]\n",
    ) };
}
