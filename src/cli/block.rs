//! The flags of `solve` and `verify` that describe the block.

use super::error::CommandError;
use crate::work::{
    AnyNetwork, Difficulty, InvalidRequest, Multiplier, NanoWork, Network, Nonce, Rule, Target,
    Threshold, Timestamp, WorkRequest, parse_root,
};

#[derive(Debug, clap::Args)]
pub(super) struct BlockArgs {
    /// Network: LIVE, BETA, DEV or LOCAL of Atto, or NANO for Nano and Banano
    #[arg(long, value_parser = parse_network)]
    network: AnyNetwork,

    /// Target of the work, for a network of Atto: 64 hex digits
    #[arg(long, value_name = "HEX")]
    target: Option<Target>,

    /// Time of the block in Unix milliseconds, for a network of Atto [default: now]
    #[arg(long, value_name = "MS")]
    timestamp: Option<Timestamp>,

    /// Root of the block, for NANO: 64 hex digits
    #[arg(long, value_name = "HEX", value_parser = parse_root)]
    hash: Option<Target>,

    /// Difficulty, for NANO: 1 to 16 hex digits. Banano and Nano's receives need fffffe0000000000 [default:
    /// fffffff800000000]
    #[arg(long, value_name = "HEX", conflicts_with = "multiplier")]
    difficulty: Option<Difficulty>,

    /// Difficulty, for NANO, as a multiple of fffffff800000000: a number above 0
    #[arg(long, value_name = "M")]
    multiplier: Option<Multiplier>,
}

fn parse_network(text: &str) -> Result<AnyNetwork, String> {
    let named = AnyNetwork::ALL
        .into_iter()
        .find(|network| network.as_str() == text);
    named.ok_or_else(|| {
        format!("unknown network {text:?}; allowed are LIVE, BETA, DEV, LOCAL and NANO")
    })
}

/// The block that a work is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A block of Atto.
    Atto {
        network: Network,
        target: Target,
        timestamp: Timestamp,
    },
    /// A block of Nano or Banano.
    Nano {
        root: Target,
        difficulty: Difficulty,
    },
}

impl BlockArgs {
    /// The block that the flags describe.
    ///
    /// # Errors
    ///
    /// [`CommandError::Usage`] if a flag is missing, or belongs to another network.
    pub(super) fn block(&self) -> Result<Block, CommandError> {
        match self.network {
            AnyNetwork::Atto(network) => {
                self.refuse(&[
                    ("--hash", self.hash.is_some()),
                    ("--difficulty", self.difficulty.is_some()),
                    ("--multiplier", self.multiplier.is_some()),
                ])?;
                Ok(Block::Atto {
                    network,
                    target: self.need(self.target, "--target")?,
                    timestamp: self.timestamp.unwrap_or_else(Timestamp::now),
                })
            }
            AnyNetwork::Nano => {
                self.refuse(&[
                    ("--target", self.target.is_some()),
                    ("--timestamp", self.timestamp.is_some()),
                ])?;
                let base = Difficulty::NANO_SEND;
                let difficulty = match self.multiplier {
                    Some(multiplier) => multiplier.difficulty(base),
                    None => self.difficulty.unwrap_or(base),
                };
                Ok(Block::Nano {
                    root: self.need(self.hash, "--hash")?,
                    difficulty,
                })
            }
        }
    }

    fn need<T>(&self, value: Option<T>, flag: &str) -> Result<T, CommandError> {
        let network = self.network;
        value.ok_or_else(|| CommandError::Usage(format!("--network {network} needs {flag} HEX")))
    }

    fn refuse(&self, flags: &[(&str, bool)]) -> Result<(), CommandError> {
        let network = self.network;
        match flags.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => Err(CommandError::Usage(format!(
                "{flag} cannot be used with --network {network}"
            ))),
        }
    }
}

impl Block {
    /// The bytes that are hashed after the nonce.
    pub(super) const fn target(&self) -> &Target {
        match self {
            Self::Atto { target, .. } => target,
            Self::Nano { root, .. } => root,
        }
    }

    /// Which digests are valid.
    pub(super) fn rule(&self) -> Rule {
        match *self {
            Self::Atto {
                network, timestamp, ..
            } => Threshold::required(network, timestamp).into(),
            Self::Nano { difficulty, .. } => difficulty.into(),
        }
    }

    /// The request for its work. The block may have any time, so its own time counts as the present.
    pub(super) fn request(&self) -> WorkRequest {
        match *self {
            Self::Atto {
                network,
                target,
                timestamp,
            } => WorkRequest::new(network, timestamp, target, timestamp)
                .expect("the block's time is not ahead of itself"),
            Self::Nano { root, difficulty } => WorkRequest::nano(root, difficulty),
        }
    }

    /// Parses a work as the block's network writes it.
    pub(super) fn parse_work(&self, text: &str) -> Result<Nonce, InvalidRequest> {
        match self {
            Self::Atto { .. } => text.parse(),
            Self::Nano { .. } => text.parse().map(NanoWork::nonce),
        }
    }

    /// Writes a work as the block's network does.
    pub(super) fn work_text(&self, nonce: Nonce) -> String {
        match self {
            Self::Atto { .. } => nonce.to_string(),
            Self::Nano { .. } => NanoWork::from(nonce).to_string(),
        }
    }
}
