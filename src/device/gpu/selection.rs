//! Which adapters to use.

use std::fmt;
use std::str::FromStr;

use super::{Adapter, AdapterInfo, AdapterKind};

/// Which adapters to use: `all`, or a list separated by commas of what names them. The list's parts are
///
/// - an index into the list of [`adapters`](super::adapters), such as `0`;
/// - a PCI id, such as `0000:65:00.0`;
/// - a part of a name, in either case, such as `radeon`, which names every adapter that it fits.
///
/// ```
/// use atto_work_server::device::gpu::Selection;
///
/// let selection: Selection = "0, 0000:65:00.0, radeon".parse()?;
/// assert_eq!(selection.to_string(), "0,0000:65:00.0,radeon");
/// assert_eq!(Selection::default(), "all".parse()?);
/// # Ok::<(), atto_work_server::device::gpu::SelectionError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Choice);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    All,
    Only(Vec<Selector>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selector {
    Index(usize),
    Pci(String),
    Name(String),
}

/// Whether adapters of [`AdapterKind::Software`] may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftwareAdapters {
    /// They may, where nothing better is there or the selection names them.
    Allowed,
    /// They may not.
    Refused,
}

/// Why a selection selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// It cannot be read.
    #[error(
        "{0:?} is no selection of adapters; allowed are \"all\", or a list separated by commas of indices \
         such as 0, PCI ids such as 0000:65:00.0 and parts of names"
    )]
    Syntax(String),
    /// No adapter fits a part of it.
    #[error("no adapter fits {selector:?}; {available}")]
    NoMatch {
        /// The part.
        selector: String,
        /// What there is, in words.
        available: String,
    },
    /// Only software adapters fit a part of it, and they are refused.
    #[error("{selector:?} is {adapter}, a software adapter, and those are not allowed")]
    Software {
        /// The part.
        selector: String,
        /// The label of the first adapter that fits it.
        adapter: String,
    },
}

/// What a selection comes to on a list of adapters.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The adapters that are selected, in the list's order, each once.
    pub adapters: Vec<&'a Adapter>,
    /// Why parts of the selection select nothing. A card that has failed must not keep the others from
    /// serving, so this is for whoever calls to judge.
    pub misses: Vec<SelectionError>,
}

impl Selection {
    /// Applies the selection to a list.
    ///
    /// *All* means all that are no software. If there is none, it means those in software where they are
    /// allowed, and else none at all, which is no miss.
    pub fn choose<'a>(&self, adapters: &'a [Adapter], software: SoftwareAdapters) -> Chosen<'a> {
        let infos: Vec<_> = adapters.iter().map(Adapter::info).collect();
        let (indices, misses) = self.indices(&infos, software);
        Chosen {
            adapters: indices.into_iter().map(|index| &adapters[index]).collect(),
            misses,
        }
    }

    fn indices(
        &self,
        infos: &[&AdapterInfo],
        software: SoftwareAdapters,
    ) -> (Vec<usize>, Vec<SelectionError>) {
        let every: Vec<_> = (0..infos.len()).collect();
        let is_software = |index: usize| infos[index].kind == AdapterKind::Software;
        let Choice::Only(selectors) = &self.0 else {
            let (soft, hard): (Vec<_>, Vec<_>) = every.into_iter().partition(|&i| is_software(i));
            let fall_back = hard.is_empty() && software == SoftwareAdapters::Allowed;
            return (if fall_back { soft } else { hard }, Vec::new());
        };
        let mut chosen = Vec::new();
        let mut misses = Vec::new();
        for selector in selectors {
            let (usable, refused): (Vec<_>, Vec<_>) = every
                .iter()
                .copied()
                .filter(|&index| selector.fits(infos[index]))
                .partition(|&index| software == SoftwareAdapters::Allowed || !is_software(index));
            if usable.is_empty() {
                misses.push(selector.selects_nothing(refused.first().copied(), infos));
            }
            chosen.extend(usable);
        }
        chosen.sort_unstable();
        chosen.dedup();
        (chosen, misses)
    }
}

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self(Choice::All));
        }
        let selectors = text.split(',').map(|part| Selector::parse(part.trim()));
        selectors
            .collect::<Option<_>>()
            .map(|selectors| Self(Choice::Only(selectors)))
            .ok_or_else(|| SelectionError::Syntax(text.to_owned()))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Choice::All => f.write_str("all"),
            Choice::Only(selectors) => {
                let parts: Vec<_> = selectors.iter().map(Selector::to_string).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Selector {
    /// Reads one part of a list. `None` for what names no adapter: nothing, and `all` among others.
    fn parse(part: &str) -> Option<Self> {
        if part.is_empty() || part.eq_ignore_ascii_case("all") {
            None
        } else if let Ok(index) = part.parse() {
            Some(Self::Index(index))
        } else if is_pci_id(part) {
            Some(Self::Pci(part.to_ascii_lowercase()))
        } else {
            Some(Self::Name(part.to_owned()))
        }
    }

    fn fits(&self, info: &AdapterInfo) -> bool {
        match self {
            Self::Index(index) => *index == info.index,
            Self::Pci(id) => info
                .pci
                .as_ref()
                .is_some_and(|pci| pci.eq_ignore_ascii_case(id)),
            Self::Name(part) => info.name.to_lowercase().contains(&part.to_lowercase()),
        }
    }

    fn selects_nothing(&self, refused: Option<usize>, infos: &[&AdapterInfo]) -> SelectionError {
        let selector = self.to_string();
        if let Some(index) = refused {
            let adapter = infos[index].label.clone();
            return SelectionError::Software { selector, adapter };
        }
        let list: Vec<_> = infos
            .iter()
            .map(|info| format!("{}: {}", info.index, info.label))
            .collect();
        let available = match list.join(", ") {
            list if list.is_empty() => "there is none".to_owned(),
            list => format!("there are {list}"),
        };
        let hint = match self {
            Self::Index(_) => "; a number is an index, so write a model with its letters",
            Self::Pci(_) | Self::Name(_) => "",
        };
        SelectionError::NoMatch {
            selector,
            available: available + hint,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Pci(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

/// Whether the text has the form `0000:65:00.0`: domain, bus, device and function in hex.
fn is_pci_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 12
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b':',
            10 => *byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::super::adapter::tests::example;
    use super::*;

    /// The indices that `text` selects, and the messages of what it misses.
    fn choose(
        text: &str,
        infos: &[AdapterInfo],
        software: SoftwareAdapters,
    ) -> (Vec<usize>, Vec<String>) {
        let infos: Vec<_> = infos.iter().collect();
        let selection: Selection = text.parse().unwrap();
        let (indices, misses) = selection.indices(&infos, software);
        (indices, misses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_selection_chooses_in_the_order_of_the_list() {
        use SoftwareAdapters::{Allowed, Refused};
        let cases: &[(&str, SoftwareAdapters, &[usize])] = &[
            ("all", Refused, &[0, 1, 2]),
            ("ALL", Allowed, &[0, 1, 2]),
            ("2", Refused, &[2]),
            ("2, 0,2", Refused, &[0, 2]),
            ("0000:B3:00.0", Refused, &[1]),
            ("nvidia", Refused, &[0, 1]),
            ("nvidia l4,1", Refused, &[0, 1]),
            ("3", Allowed, &[3]),
            ("LLVMpipe", Allowed, &[3, 4]),
            // "amd radeon" and "llvmpipe" have an m; the latter only counts where it may be used.
            ("m", Refused, &[2]),
            ("m", Allowed, &[2, 3, 4]),
        ];
        for &(text, software, expected) in cases {
            let chosen = choose(text, &example(), software);
            assert_eq!(chosen, (expected.to_vec(), vec![]), "{text} {software:?}");
        }
    }

    #[test]
    fn all_falls_back_to_software_only_where_nothing_else_is_there() {
        let software = &example()[3..];
        let nothing = (vec![], vec![]);
        assert_eq!(
            choose("all", software, SoftwareAdapters::Allowed),
            (vec![0, 1], vec![])
        );
        assert_eq!(choose("all", software, SoftwareAdapters::Refused), nothing);
        assert_eq!(choose("all", &[], SoftwareAdapters::Allowed), nothing);
    }

    #[test]
    fn what_selects_nothing_is_told_with_what_there_is_and_keeps_no_other_from_serving() {
        let there_is = "there are 0: NVIDIA L4 (0000:65:00.0), 1: NVIDIA L4 (0000:b3:00.0), \
                        2: AMD Radeon, 3: llvmpipe #3, 4: llvmpipe #4";
        let number = "; a number is an index, so write a model with its letters";
        let no_match = |part: &str| format!("no adapter fits {part:?}; {there_is}");
        let software = "is llvmpipe #3, a software adapter, and those are not allowed";
        let cases: [(&str, &[usize], Vec<String>); 6] = [
            ("5", &[], vec![no_match("5") + number]),
            ("0,intel", &[0], vec![no_match("intel")]),
            ("0000:00:00.0,1", &[1], vec![no_match("0000:00:00.0")]),
            ("3", &[], vec![format!("\"3\" {software}")]),
            ("0,llvmpipe", &[0], vec![format!("\"llvmpipe\" {software}")]),
            ("x,y", &[], vec![no_match("x"), no_match("y")]),
        ];
        for (text, indices, messages) in cases {
            let chosen = choose(text, &example(), SoftwareAdapters::Refused);
            assert_eq!(chosen, (indices.to_vec(), messages));
        }
        let (_, messages) = choose("0", &[], SoftwareAdapters::Allowed);
        assert_eq!(
            messages,
            [format!("no adapter fits \"0\"; there is none{number}")]
        );
    }

    #[test]
    fn what_is_no_selection_is_refused_with_the_rule() {
        for text in ["", " ", "0,", ",", "0,,1", "all,0"] {
            let error = text.parse::<Selection>().unwrap_err();
            assert_eq!(error, SelectionError::Syntax(text.to_owned()));
            assert!(error.to_string().contains("0000:65:00.0"));
        }
    }

    #[test]
    fn a_selection_is_written_as_it_is_read() {
        for text in ["all", "0", "0,0000:65:00.0,radeon rx"] {
            let selection: Selection = text.parse().unwrap();
            assert_eq!(selection.to_string(), text);
        }
    }
}
