//! The device's own clock, which times dispatches more exactly than the host does.

use std::time::Duration;

use wgpu::BufferUsages as Usage;

/// The size of the two timestamps of a dispatch, in bytes.
pub(super) const TICKS_SIZE: u64 = size_of::<[u64; 2]>() as u64;

/// The device's time at the beginning and the end of a dispatch.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    ticks: wgpu::Buffer,
    nanoseconds_per_tick: f32,
}

impl Clock {
    /// A clock for one dispatch at a time. `None` if the device has none.
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Self> {
        let has_clock = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        has_clock.then(|| Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            ticks: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("ticks"),
                size: TICKS_SIZE,
                usage: Usage::QUERY_RESOLVE | Usage::COPY_SRC,
                mapped_at_creation: false,
            }),
            nanoseconds_per_tick: queue.get_timestamp_period(),
        })
    }

    pub(super) fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Copies the two timestamps to `buffer` at `offset`, once the pass is done.
    pub(super) fn copy_to(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        offset: u64,
    ) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.ticks, 0);
        encoder.copy_buffer_to_buffer(&self.ticks, 0, buffer, offset, TICKS_SIZE);
    }

    /// The time between the two timestamps in `bytes`.
    pub(super) fn elapsed(&self, bytes: &[u8]) -> Option<Duration> {
        let [begin, end]: [u64; 2] = bytemuck::pod_read_unaligned(bytes);
        let ticks = end.checked_sub(begin)?;
        let nanoseconds = ticks as f64 * f64::from(self.nanoseconds_per_tick);
        Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
    }
}

/// The device's time for all completed dispatches.
#[derive(Debug)]
pub(super) struct BusyTime {
    sum: Duration,
    /// How many dispatches in a row the device's clock was wrong about.
    wrong: u32,
}

impl BusyTime {
    /// A clock that is wrong this often in a row is not asked any more. It may be wrong once: Intel's counter wraps every
    /// hour or so.
    const WRONG_AT_MOST: u32 = 16;

    /// No time yet, of a device with or without a clock.
    pub(super) const fn new(has_clock: bool) -> Self {
        Self {
            sum: Duration::ZERO,
            wrong: if has_clock { 0 } else { Self::WRONG_AT_MOST },
        }
    }

    /// Adds a dispatch. `by_device` is `None` if the device's clock cannot be right; then the host's time counts.
    pub(super) fn add(&mut self, by_device: Option<Duration>, by_host: Duration) {
        if self.get().is_some() {
            self.sum += by_device.unwrap_or(by_host);
            self.wrong = by_device.map_or(self.wrong + 1, |_| 0);
        }
    }

    /// The sum. `None` without a clock that is right most of the time.
    pub(super) fn get(&self) -> Option<Duration> {
        (self.wrong < Self::WRONG_AT_MOST).then_some(self.sum)
    }
}

/// Whether a dispatch can have taken as long as the device's clock says. The host measured `by_host`, and the dispatch was
/// in flight for `in_flight`.
///
/// The size of dispatches depends on it, so a clock that stands still, leaps or counts in other units must not make one
/// endless.
pub(super) fn is_credible(by_device: Duration, by_host: Duration, in_flight: Duration) -> bool {
    // Of a short dispatch, most of the host's time may be overhead.
    let is_short = by_host < Duration::from_millis(10);
    !by_device.is_zero() && by_device <= in_flight && (is_short || by_device >= by_host / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_wrong_now_and_then() {
        let (right, host) = (Duration::from_millis(20), Duration::from_millis(25));
        let mut busy = BusyTime::new(true);
        let mut add = |by_device, times| {
            (0..times).for_each(|_| busy.add(by_device, host));
            busy.get()
        };
        assert_eq!(add(Some(right), 1), Some(right));
        assert_eq!(add(None, 15), Some(right + 15 * host));
        assert_eq!(add(Some(right), 1), Some(2 * right + 15 * host));
        assert_eq!(add(None, 16), None);
        assert_eq!(add(Some(right), 1), None);
        assert_eq!(BusyTime::new(false).get(), None);
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_ignored() {
        let milliseconds = Duration::from_millis;
        for (by_device, by_host, in_flight, credible) in [
            (20, 20, 40, true),
            // Another program had the card for a while.
            (20, 60, 80, true),
            // The host noticed the end of the dispatch before too late.
            (20, 15, 40, true),
            (1, 5, 5, true),
            (0, 20, 40, false),
            (41, 20, 40, false),
            (2, 20, 40, false),
        ] {
            let [by_device, by_host, in_flight] = [by_device, by_host, in_flight].map(milliseconds);
            assert_eq!(
                is_credible(by_device, by_host, in_flight),
                credible,
                "{by_device:?} {by_host:?} {in_flight:?}"
            );
        }
    }
}
