//! How long requests took.

/// Seconds from each request to its answer, in order of size.
pub(crate) struct Times(pub(crate) Vec<f64>);

impl Times {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The time that this share of the requests, from 0 to 1, stays within.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    /// The 50th, 95th and 99th percentile, for a table.
    pub(crate) fn percentiles(&self) -> String {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| self.percentile(share));
        format!("{p50:6.1} {p95:6.1} {p99:6.1}")
    }

    /// The share of requests, from 0 to 1, that took longer than `limit` seconds.
    pub(crate) fn share_over(&self, limit: f64) -> f64 {
        let over = self.0.iter().filter(|&&time| time > limit).count();
        over as f64 / self.0.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_hundred_times() {
        let times = Times::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(times.mean(), 50.5);
        assert_eq!(times.percentiles(), "  50.0   95.0   99.0");
        assert_eq!(times.share_over(90.0), 0.1);
    }
}
