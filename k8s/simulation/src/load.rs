//! How many requests come, as it changes with time.

use std::f64::consts::TAU;

/// A Poisson process whose rate, in requests a second, may change with time.
pub(crate) enum Load {
    Steady(f64),
    /// A cycle of `every` seconds begins with `lasts` seconds at the rate `burst`; the rest of it has the rate `calm`.
    Bursts {
        calm: f64,
        burst: f64,
        every: f64,
        lasts: f64,
    },
    /// A sine that begins at `low`.
    Wave {
        low: f64,
        high: f64,
        period: f64,
    },
}

impl Load {
    /// The rate at a time in seconds.
    pub(crate) fn at(&self, time: f64) -> f64 {
        match *self {
            Self::Steady(rate) => rate,
            Self::Bursts {
                burst,
                every,
                lasts,
                ..
            } if time % every < lasts => burst,
            Self::Bursts { calm, .. } => calm,
            Self::Wave { low, high, period } => {
                let phase = (time / period * TAU).cos();
                low + (high - low) * (1.0 - phase) / 2.0
            }
        }
    }

    /// The highest rate there is at any time.
    pub(crate) fn highest(&self) -> f64 {
        match *self {
            Self::Steady(rate) => rate,
            Self::Bursts { calm, burst, .. } => burst.max(calm),
            Self::Wave { high, .. } => high,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_changes_as_it_says() {
        let bursts = Load::Bursts {
            calm: 1.0,
            burst: 5.0,
            every: 100.0,
            lasts: 10.0,
        };
        let rates = [0.0, 9.9, 10.0, 99.9, 105.0].map(|time| bursts.at(time));
        assert_eq!(rates, [5.0, 5.0, 1.0, 1.0, 5.0]);
        let wave = Load::Wave {
            low: 2.0,
            high: 6.0,
            period: 100.0,
        };
        for (time, rate) in [(0.0, 2.0), (25.0, 4.0), (50.0, 6.0), (100.0, 2.0)] {
            assert!((wave.at(time) - rate).abs() < 1e-9, "{time}");
        }
        assert_eq!((bursts.highest(), wave.highest()), (5.0, 6.0));
    }
}
