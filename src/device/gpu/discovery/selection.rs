//! The operator's selection of adapters.

use std::fmt;
use std::str::FromStr;

use super::adapter::{Adapter, AdapterInfo, AdapterKind};

/// Which adapters to use: `all`, or a comma-separated list of selectors. A selector is
///
/// - an index into the list of [`adapters`](super::adapters), such as `0`;
/// - a PCI id, such as `0000:65:00.0`;
/// - a part of a name, such as `radeon`. Case does not matter, and it selects every adapter whose name contains it.
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
pub struct Selection {
    /// `None` selects all adapters.
    selectors: Option<Vec<Selector>>,
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
    /// Used if the selection names them, or if there is nothing else.
    Allowed,
    /// Never used.
    Refused,
}

/// Why a selection, or a part of it, is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// It cannot be parsed.
    #[error(
        "{0:?} does not select adapters; give \"all\", or a comma-separated list of indices such as 0, PCI ids such as \
         0000:65:00.0 and parts of names"
    )]
    Syntax(String),
    /// No adapter matches a selector.
    #[error("no adapter matches {selector:?}; {available}")]
    NoMatch {
        /// The selector.
        selector: String,
        /// The adapters that there are, in words.
        available: String,
    },
    /// Only software adapters match a selector, and they are not allowed.
    #[error("{selector:?} is {adapter}, a software adapter, and those are not allowed")]
    Software {
        /// The selector.
        selector: String,
        /// The label of the first adapter that matches it.
        adapter: String,
    },
}

/// A selection, applied to a list of adapters.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The selected adapters, in the list's order, each once.
    pub adapters: Vec<&'a Adapter>,
    /// An error for each selector that matches no usable adapter. The caller decides what it means: one broken card must
    /// not keep the others from serving.
    pub unmatched: Vec<SelectionError>,
}

impl Selection {
    /// Applies the selection to a list.
    ///
    /// `all` selects every adapter that is not software. If there is none, it selects the software adapters, if they are
    /// allowed. It always matches, even if it selects nothing.
    pub fn choose<'a>(&self, adapters: &'a [Adapter], software: SoftwareAdapters) -> Chosen<'a> {
        let infos: Vec<_> = adapters.iter().map(Adapter::info).collect();
        let (indices, unmatched) = self.indices(&infos, software);
        Chosen {
            adapters: indices.into_iter().map(|index| &adapters[index]).collect(),
            unmatched,
        }
    }

    fn indices(
        &self,
        infos: &[&AdapterInfo],
        software: SoftwareAdapters,
    ) -> (Vec<usize>, Vec<SelectionError>) {
        let every: Vec<_> = (0..infos.len()).collect();
        let is_software = |index: usize| infos[index].kind == AdapterKind::Software;
        let Some(selectors) = &self.selectors else {
            let (soft, hard): (Vec<_>, Vec<_>) = every.into_iter().partition(|&i| is_software(i));
            let fall_back = hard.is_empty() && software == SoftwareAdapters::Allowed;
            return (if fall_back { soft } else { hard }, Vec::new());
        };
        let mut chosen = Vec::new();
        let mut unmatched = Vec::new();
        for selector in selectors {
            let (usable, refused): (Vec<_>, Vec<_>) = every
                .iter()
                .copied()
                .filter(|&index| selector.matches(infos[index]))
                .partition(|&index| software == SoftwareAdapters::Allowed || !is_software(index));
            if usable.is_empty() {
                unmatched.push(selector.error(refused.first().copied(), infos));
            }
            chosen.extend(usable);
        }
        chosen.sort_unstable();
        chosen.dedup();
        (chosen, unmatched)
    }
}

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self { selectors: None });
        }
        let selectors = text.split(',').map(|part| Selector::parse(part.trim()));
        let selectors: Option<Vec<_>> = selectors.collect();
        if selectors.is_none() {
            return Err(SelectionError::Syntax(text.to_owned()));
        }
        Ok(Self { selectors })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selectors {
            None => f.write_str("all"),
            Some(selectors) => {
                let parts: Vec<_> = selectors.iter().map(Selector::to_string).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Selector {
    /// Parses one part of a list. `None` if it is empty or `all`, which must be alone.
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

    fn matches(&self, info: &AdapterInfo) -> bool {
        match self {
            Self::Index(index) => *index == info.index,
            Self::Pci(id) => info
                .pci
                .as_ref()
                .is_some_and(|pci| pci.eq_ignore_ascii_case(id)),
            Self::Name(part) => info.name.to_lowercase().contains(&part.to_lowercase()),
        }
    }

    /// The error of a selector that matches no usable adapter.
    fn error(&self, refused: Option<usize>, infos: &[&AdapterInfo]) -> SelectionError {
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

/// Whether the text has the format `0000:65:00.0`: domain, bus, device and function in hex.
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
mod tests;
