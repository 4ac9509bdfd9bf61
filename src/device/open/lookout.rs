//! The search for cards that were missing at the start.

use std::fmt;

use super::outcome::OpenDevices;

/// Looks for cards that are missing. Looking may take a minute: drivers are slow, and may not return.
pub struct Lookout(Box<dyn FnMut() -> Option<OpenDevices> + Send>);

impl Lookout {
    /// A lookout that calls `look`.
    pub fn new(look: impl FnMut() -> Option<OpenDevices> + Send + 'static) -> Self {
        Self(Box::new(look))
    }

    /// Looks once. Returns the cards that were found, with the reasons why others are still missing; `None` if nothing
    /// has changed.
    pub fn look(&mut self) -> Option<OpenDevices> {
        (self.0)()
    }
}

impl fmt::Debug for Lookout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookout")
    }
}
