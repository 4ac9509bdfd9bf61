//! Names what limits the hash rate of a device.

use crate::device::cpu;
use crate::device::cpu::probe::Figures;

/// From this part of the time on, a device counts as busy all the time. The rest is the beginning and the end.
const ALWAYS: f64 = 0.95;

/// Below this part of the time, neighbours on the cores are not mentioned.
const HARDLY: f64 = 0.05;

/// What limits the processor. `cpu_share` is the part of the time for which the threads had a core, `clock` the frequency
/// of the cores in hertz, and `bound` the percentage of their bound and their name.
pub(super) fn of_processor(
    threads: usize,
    cpu_share: f64,
    clock: f64,
    cycles: &Figures,
    bound: Option<(f64, &str)>,
) -> String {
    let available = cpu::available_threads().get();
    let cores = if threads < available {
        format!("{threads} of {available} cores (--threads)")
    } else {
        format!("{available} cores")
    };
    let gigahertz = clock / 1e9;
    let waiting = if cpu_share < ALWAYS {
        let percent = 100.0 * cpu_share;
        format!(", shared with other programs: the search had them {percent:.0} % of the time")
    } else {
        String::new()
    };
    let shared = cycles.shared.filter(|_| cycles.part_shared() >= HARDLY);
    let shared = shared.map_or(String::new(), |shared| {
        let percent = 100.0 * cycles.part_shared();
        let (beside, alone) = (shared.median, cycles.alone);
        let alone = alone.map_or(String::new(), |alone| format!(", {:.1} alone", alone.median));
        format!(
            "; a core is shared with another hyperthread {percent:.0} % of the time: {beside:.1} cycles a hash beside \
             it{alone}"
        )
    });
    let bound = bound.map_or(String::new(), |(percent, cores)| {
        format!("; the kernel reaches {percent:.0} % of the bound for a core of {cores}")
    });
    format!("{cores} at {gigahertz:.1} GHz{waiting}{shared}{bound}")
}

/// What limits a card that was busy for this part of the time.
pub(super) fn of_card(is_software: bool, percent_busy: Option<f64>) -> String {
    match percent_busy {
        _ if is_software => {
            "the processor, since this card is software; --backend cpu is faster".to_owned()
        }
        None => "unknown: the card has no clock that tells how busy it was".to_owned(),
        Some(percent) if percent >= 100.0 * ALWAYS => {
            format!("the card, busy {percent:.0} % of the time by its own clock")
        }
        Some(percent) => format!(
            "the host or the driver: by its own clock the card was busy only {percent:.0} % of the time"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::probe::Quantiles;

    #[test]
    fn the_limit_is_named_as_far_as_it_is_known() {
        let cores = cpu::available_threads().get();
        let quantiles = |runs, median| {
            Some(Quantiles {
                runs,
                p10: median,
                median,
            })
        };
        let quiet = Figures {
            all: quantiles(100, 91.6),
            alone: quantiles(100, 91.6),
            shared: None,
        };
        let told = of_processor(cores, 0.99, 2.4e9, &quiet, Some((88.6, "Zen 2 to 4")));
        let bound = "; the kernel reaches 89 % of the bound for a core of Zen 2 to 4";
        assert_eq!(told, format!("{cores} cores at 2.4 GHz{bound}"));
        let told = of_processor(cores, 0.5, 2.4e9, &quiet, None);
        assert!(
            told.ends_with(", shared with other programs: the search had them 50 % of the time")
        );
        let shared = Figures {
            shared: quantiles(40, 166.0),
            ..quiet
        };
        let told = of_processor(cores, 0.99, 2.4e9, &shared, None);
        let neighbour = "; a core is shared with another hyperthread 40 % of the time: 166.0 cycles a hash beside it, \
                         91.6 alone";
        assert_eq!(told, format!("{cores} cores at 2.4 GHz{neighbour}"));
        let cases = [
            (false, Some(99.0), "the card, busy 99 %"),
            (false, Some(60.0), "the host or the driver"),
            (false, None, "unknown"),
            (true, Some(99.0), "the processor"),
        ];
        for (is_software, busy, expected) in cases {
            let told = of_card(is_software, busy);
            assert!(told.contains(expected), "{told}");
        }
    }
}
