//! What keeps a device from a higher hash rate, in words.

use crate::device::cpu;

/// From this part of the time on, a device counts as busy all the time. The rest is the beginning and the end.
const ALWAYS: f64 = 0.95;

/// What limits the processor. `cpu_share` is the part of the time for which the threads had a core, `clock` the frequency
/// of the cores in hertz.
pub(super) fn of_processor(
    threads: usize,
    cpu_share: f64,
    clock: f64,
    percent_of_bound: Option<f64>,
) -> String {
    let available = cpu::available_threads().get();
    let cores = if threads < available {
        format!("{threads} of {available} cores (--threads)")
    } else {
        format!("{available} cores")
    };
    let gigahertz = clock / 1e9;
    let shared = if cpu_share < ALWAYS {
        let percent = 100.0 * cpu_share;
        format!(", which the search had {percent:.0} % of the time beside other programs")
    } else {
        String::new()
    };
    let bound = percent_of_bound.map_or(String::new(), |percent| {
        format!("; the code is at {percent:.0} % of the bound of its ports")
    });
    format!("{cores} at {gigahertz:.1} GHz{shared}{bound}")
}

/// What limits a card that was busy for this part of the time.
pub(super) fn of_card(is_software: bool, percent_busy: Option<f64>) -> String {
    match percent_busy {
        _ if is_software => {
            "the processor, which this software acts as a card on; --backend cpu is faster"
                .to_owned()
        }
        None => "unknown: the card has no clock that tells how busy it was".to_owned(),
        Some(percent) if percent >= 100.0 * ALWAYS => {
            format!("the card, at work {percent:.0} % of the time by its own clock")
        }
        Some(percent) => format!(
            "the host or its driver: by its own clock the card was at work {percent:.0} % of the time"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named_as_far_as_it_is_known() {
        let cores = cpu::available_threads().get();
        let told = of_processor(cores, 0.99, 2.4e9, Some(94.4));
        let bound = "; the code is at 94 % of the bound of its ports";
        assert_eq!(told, format!("{cores} cores at 2.4 GHz{bound}"));
        let told = of_processor(cores, 0.5, 2.4e9, None);
        assert!(told.ends_with("which the search had 50 % of the time beside other programs"));
        let cases = [
            (false, Some(99.0), "the card, at work 99 %"),
            (false, Some(60.0), "the host or its driver"),
            (false, None, "unknown"),
            (true, Some(99.0), "the processor"),
        ];
        for (is_software, busy, expected) in cases {
            let told = of_card(is_software, busy);
            assert!(told.contains(expected), "{told}");
        }
    }
}
