//! The operations of a vector register that the search needs, and their scalar form.

/// A register of 64-bit lanes.
///
/// Every method is `#[inline(always)]`: it uses instructions that only the caller's `#[target_feature]` allows, so it must
/// be compiled as a part of that caller. Use an implementing type only inside the entry function of its own file.
pub(super) trait Lanes: Copy {
    /// How many lanes there are.
    const COUNT: usize;

    /// Every lane holds `value`.
    fn splat(value: u64) -> Self;

    /// The lanes hold `first`, `first + 1`, …, wrapping at 2^64.
    fn counting(first: u64) -> Self;

    /// The register that follows this one of [`Lanes::counting`].
    fn next(self) -> Self;

    /// Lane by lane, the sum modulo 2^64.
    fn add(self, other: Self) -> Self;

    /// Lane by lane, the exclusive or.
    fn xor(self, other: Self) -> Self;

    /// Lane by lane, the exclusive or rotated right by `N` bits: one of 32, 24, 16 and 63.
    fn xor_rotr<const N: u32>(self, other: Self) -> Self;

    /// Which lanes are at most `limit`, unsigned: bit `i` for lane `i`.
    fn at_most(self, limit: u64) -> u32;
}

/// One lane: the portable search, which all others must agree with.
impl Lanes for u64 {
    const COUNT: usize = 1;

    #[inline(always)]
    fn splat(value: u64) -> Self {
        value
    }

    #[inline(always)]
    fn counting(first: u64) -> Self {
        first
    }

    #[inline(always)]
    fn next(self) -> Self {
        // `black_box` keeps the optimiser from vectorising the loop over nonces. With SSE2 alone the vectors spill, and
        // a hash takes twice as long.
        std::hint::black_box(self.wrapping_add(1))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn xor_rotr<const N: u32>(self, other: Self) -> Self {
        (self ^ other).rotate_right(N)
    }

    #[inline(always)]
    fn at_most(self, limit: u64) -> u32 {
        u32::from(self <= limit)
    }
}
