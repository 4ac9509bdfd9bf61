//! Which kernel a core searches with while it serves.
//!
//! The race at the start decides for that moment. When a program later starts or stops using the core's other
//! hyperthread, another kernel is the fastest: on Zen 3 `avx2-mixed` takes 92 cycles a hash on a core of its own and
//! 190 beside a busy hyperthread, `avx2-single` 115 and 132. So a core searches one slice in [`PERIOD`] with a rival of
//! the kernel that serves, compares it with the slice before, and changes to the rival once that is faster on average.
//!
//! Each core decides by itself, since each has a neighbour of its own.

use super::fastest::Rate;
use super::kernel::Kernel;

/// Slices from one with a rival to the next. If the rival takes twice as long, this costs 1.6 %.
const PERIOD: u32 = 64;

/// A kernel with less than this part of the fastest kernel's rate in the race is no rival.
const RIVAL: f64 = 0.6;

/// Comparisons after which a rival may take over. Neighbours also come and go within milliseconds.
const COMPARISONS: u32 = 8;

/// The weight of the latest comparison in the mean.
const WEIGHT: f64 = 1.0 / 8.0;

/// By how much a rival must be faster: more than the error of its mean.
const LEAD: f64 = 1.05;

/// The kernels of one core.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    serving: Kernel,
    rivals: Vec<Rival>,
    /// Slices until the next one with a rival.
    left: u32,
    /// The rate of the last slice of the kernel that serves, if it was measured.
    last: Option<f64>,
    /// The rival whose slice is next, or is being searched.
    trying: Option<usize>,
    /// The rival that is tried after that.
    turn: usize,
}

#[derive(Clone, Debug)]
struct Rival {
    kernel: Kernel,
    /// The mean of its rate in units of that of the kernel that serves.
    ratio: f64,
    comparisons: u32,
}

impl Rival {
    const fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            ratio: 0.0,
            comparisons: 0,
        }
    }

    fn compare(&mut self, ratio: f64) {
        self.comparisons = self.comparisons.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.comparisons));
        self.ratio += (ratio - self.ratio) * weight;
    }
}

impl Choice {
    /// `fastest` serves first. `rates` are those that the race has measured of all kernels.
    pub(super) fn new(fastest: Rate, rates: &[Rate]) -> Self {
        let rivals = rates.iter().filter(|rate| {
            rate.kernel != fastest.kernel
                && rate.hashes_per_second > RIVAL * fastest.hashes_per_second
        });
        Self {
            rivals: rivals.map(|rate| Rival::new(rate.kernel)).collect(),
            ..Self::only(fastest.kernel)
        }
    }

    /// A kernel without rivals.
    pub(super) const fn only(kernel: Kernel) -> Self {
        Self {
            serving: kernel,
            rivals: Vec::new(),
            left: PERIOD,
            last: None,
            trying: None,
            turn: 0,
        }
    }

    /// The kernels that may serve.
    pub(super) fn kernels(&self) -> impl Iterator<Item = Kernel> {
        let rivals = self.rivals.iter().map(|rival| rival.kernel);
        std::iter::once(self.serving).chain(rivals)
    }

    /// The kernel for the next slice.
    pub(super) fn pick(&mut self) -> Kernel {
        self.left = self.left.saturating_sub(1);
        self.trying = None;
        if self.left > 0 || self.last.is_none() || self.rivals.is_empty() {
            return self.serving;
        }
        self.left = PERIOD;
        let index = self.turn % self.rivals.len();
        self.turn = index + 1;
        self.trying = Some(index);
        self.rivals[index].kernel
    }

    /// Whether [`measured`](Self::measured) needs to be called.
    pub(super) fn has_rivals(&self) -> bool {
        !self.rivals.is_empty()
    }

    /// Notes the rate of the slice that was searched with the kernel of the last [`pick`](Self::pick), in any unit. Returns
    /// the kernel that serves from now on, if that is another one than before.
    pub(super) fn measured(&mut self, rate: f64) -> Option<Kernel> {
        let Some(index) = self.trying.take() else {
            self.last = Some(rate);
            return None;
        };
        let last = self.last.take()?;
        let rival = &mut self.rivals[index];
        rival.compare(rate / last);
        if rival.comparisons < COMPARISONS || rival.ratio < LEAD {
            return None;
        }
        std::mem::swap(&mut self.serving, &mut rival.kernel);
        // All were compared with the kernel that served until now.
        for rival in &mut self.rivals {
            *rival = Rival::new(rival.kernel);
        }
        Some(self.serving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates of the first and the second kernel of this processor in a race.
    fn rates(first: f64, second: f64) -> [Rate; 2] {
        let kernels = Kernel::available();
        let portable = kernels[kernels.len() - 1];
        [(kernels[0], first), (portable, second)].map(|(kernel, hashes_per_second)| Rate {
            kernel,
            hashes_per_second,
        })
    }

    /// Searches this many slices at the rate that `rate` gives for a kernel and a number. Returns how many of them were
    /// searched with `kernel`.
    fn serve(
        choice: &mut Choice,
        slices: u32,
        kernel: Kernel,
        rate: impl Fn(Kernel, u32) -> f64,
    ) -> u32 {
        let mut searched = 0;
        for number in 0..slices {
            let picked = choice.pick();
            searched += u32::from(picked == kernel);
            choice.measured(rate(picked, number));
        }
        searched
    }

    /// As `rates`, if this processor has two kernels.
    fn two() -> Option<[Rate; 2]> {
        let [first, second] = rates(100.0, 90.0);
        (first.kernel != second.kernel).then_some([first, second])
    }

    #[test]
    fn the_fastest_serves_and_a_rival_has_one_slice_in_a_period() {
        let Some([first, second]) = two() else { return };
        let mut choice = Choice::new(first, &[first, second]);
        let rate = |kernel, _| if kernel == first.kernel { 100.0 } else { 90.0 };
        let searched = serve(&mut choice, 100 * PERIOD, second.kernel, rate);
        assert_eq!(searched, 100);
        assert_eq!(choice.pick(), first.kernel);
    }

    #[test]
    fn a_neighbour_that_comes_and_leaves_changes_the_kernel_and_changes_it_back() {
        let Some([first, second]) = two() else { return };
        let mut choice = Choice::new(first, &[first, second]);
        let alone = |kernel, _| if kernel == first.kernel { 100.0 } else { 80.0 };
        let beside = |kernel, _| if kernel == first.kernel { 48.0 } else { 70.0 };
        // The mean forgets the quiet time within some 8 comparisons.
        for _ in 0..3 {
            serve(&mut choice, 100 * PERIOD, first.kernel, alone);
            let searched = serve(&mut choice, 100 * PERIOD, second.kernel, beside);
            assert!(searched > 80 * PERIOD, "{searched}");
            let searched = serve(&mut choice, 100 * PERIOD, first.kernel, alone);
            assert!(searched > 80 * PERIOD, "{searched}");
        }
    }

    #[test]
    fn rates_that_jump_by_a_tenth_change_nothing_between_equals() {
        let Some([first, second]) = two() else { return };
        let mut choice = Choice::new(first, &[first, second]);
        // Three different rates by turns, so that each comparison is between two of them.
        let rate = |_, number: u32| [100.0, 105.0, 95.0][number as usize % 3];
        let searched = serve(&mut choice, 300 * PERIOD, second.kernel, rate);
        assert_eq!(searched, 300);
    }

    #[test]
    fn a_kernel_far_behind_or_alone_is_never_tried() {
        let Some([first, second]) = two() else { return };
        let slow = Rate {
            hashes_per_second: 50.0,
            ..second
        };
        for mut choice in [
            Choice::new(first, &[first, slow]),
            Choice::only(first.kernel),
        ] {
            assert!(!choice.has_rivals());
            assert_eq!(choice.kernels().collect::<Vec<_>>(), [first.kernel]);
            let searched = serve(&mut choice, 10 * PERIOD, first.kernel, |_, _| 1.0);
            assert_eq!(searched, 10 * PERIOD);
        }
    }
}
