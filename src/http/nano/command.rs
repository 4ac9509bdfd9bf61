//! What a request asks for, once its members have been read.

use std::str::FromStr;

use super::members::{Members, required};
use super::refusal::Refusal;
use crate::work::{Difficulty, InvalidRequest, Multiplier, NanoWork, Target, parse_root};

/// The only version of Nano's proof of work, as the member `version` names it.
const VERSION: &str = "work_1";

/// The difficulties that this server goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulties {
    /// What is searched for if a request does not say otherwise, and what multipliers refer to.
    pub base: Difficulty,
    /// How many times as hard as that a request may be.
    pub most: Multiplier,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To search for a work.
    Generate {
        /// What the work is for.
        root: Target,
        /// What its value must reach.
        difficulty: Difficulty,
    },
    /// To check a work.
    Validate {
        /// What the work is for.
        root: Target,
        /// The work.
        work: NanoWork,
        /// A difficulty to check it against, besides those of the network.
        difficulty: Option<Difficulty>,
    },
    /// To end the requests that wait for a work for this root.
    Cancel {
        /// What the works are for.
        root: Target,
    },
    /// To count the searches.
    Status,
}

impl Command {
    /// The command of these members.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names the first member that is wrong.
    pub(super) fn of(members: &Members, difficulties: &Difficulties) -> Result<Self, Refusal> {
        let action = required(members.action.as_deref(), "action")?;
        let asked = Asked {
            members,
            difficulties,
        };
        match action {
            "work_generate" => asked.generate(),
            "work_validate" => asked.validate(),
            "work_cancel" => Ok(Self::Cancel {
                root: asked.root()?,
            }),
            "status" => Ok(Self::Status),
            _ => Err(Refusal::Action),
        }
    }
}

/// The members of a request whose action is known.
struct Asked<'a> {
    members: &'a Members,
    difficulties: &'a Difficulties,
}

impl Asked<'_> {
    fn generate(&self) -> Result<Command, Refusal> {
        let root = self.root()?;
        let difficulty = self.difficulty()?;
        let multiplier = self.multiplier()?;
        self.require_version()?;
        let Difficulties { base, most } = *self.difficulties;
        let multiplied = multiplier.map(|multiplier| multiplier.difficulty(base));
        let difficulty = multiplied.or(difficulty).unwrap_or(base);
        if difficulty > most.difficulty(base) {
            return Err(Refusal::TooHard);
        }
        Ok(Command::Generate { root, difficulty })
    }

    fn validate(&self) -> Result<Command, Refusal> {
        let root = self.root()?;
        let work = required(self.members.work.as_deref(), "work")?;
        let work = work.parse().map_err(Refusal::Member)?;
        let difficulty = self.difficulty()?;
        let multiplier = self.multiplier()?;
        self.require_version()?;
        let base = self.difficulties.base;
        // As in nano_node, a multiplier replaces a difficulty, and is ignored without one.
        let difficulty = difficulty.map(|difficulty| {
            multiplier.map_or(difficulty, |multiplier| multiplier.difficulty(base))
        });
        Ok(Command::Validate {
            root,
            work,
            difficulty,
        })
    }

    fn root(&self) -> Result<Target, Refusal> {
        let text = required(self.members.hash.as_deref(), "hash")?;
        parse_root(text).map_err(Refusal::Member)
    }

    fn difficulty(&self) -> Result<Option<Difficulty>, Refusal> {
        optional(self.members.difficulty.as_deref())
    }

    fn multiplier(&self) -> Result<Option<Multiplier>, Refusal> {
        optional(self.members.multiplier.as_deref())
    }

    fn require_version(&self) -> Result<(), Refusal> {
        match self.members.version.as_deref() {
            Some(version) if version != VERSION => Err(Refusal::Version),
            _ => Ok(()),
        }
    }
}

fn optional<T: FromStr<Err = InvalidRequest>>(text: Option<&str>) -> Result<Option<T>, Refusal> {
    let value = text.map(str::parse);
    value.transpose().map_err(Refusal::Member)
}

#[cfg(test)]
mod tests;
