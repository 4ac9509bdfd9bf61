//! What each client was given lately, so that the clients share the hashes and not the searches.

use std::collections::HashMap;
use std::time::Instant;

use crate::scheduler::client::ClientId;

/// The half-life, in seconds, of the nonces that a client was given.
const HALF_LIFE: f64 = 60.0;

/// How many clients without a search are kept.
const REMEMBERED: usize = 4096;

/// Once a nonce weighs more than this, all weights are scaled down.
const HEAVIEST: f64 = 1e100;

/// The clients that have searches, and those that had some lately.
#[derive(Debug)]
pub(super) struct Clients {
    shares: HashMap<ClientId, Share>,
    /// How many of them have searches.
    active: usize,
    /// The weight of a nonce given now. It doubles with each half-life, so that the earlier nonces need not be halved.
    weight: f64,
    /// When a nonce weighed 1.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    searches: usize,
    /// Nonces by their weight.
    given: f64,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            shares: HashMap::new(),
            active: 0,
            weight: 1.0,
            since: None,
        }
    }
}

impl Clients {
    /// A search of this client has arrived. A new client starts with the least that any client with searches was given,
    /// so that a client gains nothing by new names.
    pub(super) fn enter(&mut self, client: &ClientId) {
        if !self.shares.contains_key(client) {
            let given = self.least_given();
            let share = Share { searches: 0, given };
            self.shares.insert(client.clone(), share);
        }
        if let Some(share) = self.shares.get_mut(client) {
            self.active += usize::from(share.searches == 0);
            share.searches += 1;
        }
    }

    /// The least that any client with searches was given.
    fn least_given(&self) -> f64 {
        let active = self.shares.values().filter(|share| share.searches > 0);
        let given = active.map(|share| share.given);
        given.min_by(f64::total_cmp).unwrap_or_default()
    }

    /// A search of this client has ended.
    pub(super) fn leave(&mut self, client: &ClientId) {
        let Some(share) = self.shares.get_mut(client) else {
            return;
        };
        share.searches -= 1;
        if share.searches == 0 {
            self.active -= 1;
            if self.shares.len() > self.active + REMEMBERED {
                self.shares.retain(|_, share| share.searches > 0);
            }
        }
    }

    /// Nonces of a search of this client are given to an engine.
    pub(super) fn give(&mut self, client: &ClientId, nonces: f64, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since).as_secs_f64();
        self.weight = self.weight.max((age / HALF_LIFE).exp2());
        if self.weight > HEAVIEST {
            let weight = std::mem::replace(&mut self.weight, 1.0);
            self.since = Some(now);
            self.shares
                .values_mut()
                .for_each(|share| share.given /= weight);
        }
        if let Some(share) = self.shares.get_mut(client) {
            share.given += nonces * self.weight;
        }
    }

    /// Whether more than one client has searches.
    pub(super) const fn are_several(&self) -> bool {
        self.active > 1
    }

    /// How many nonces this client was given lately.
    pub(super) fn given(&self, client: &ClientId) -> f64 {
        let share = self.shares.get(client);
        share.map_or(0.0, |share| share.given / self.weight)
    }

    /// The client with the most searches, if it has at least two more than this one.
    pub(super) fn greedier_than(&self, client: &ClientId) -> Option<ClientId> {
        let own = self.shares.get(client).map_or(0, |share| share.searches);
        let (greediest, share) = self.shares.iter().max_by_key(|(_, share)| share.searches)?;
        (share.searches > own + 1).then(|| greediest.clone())
    }

    /// Every search has ended.
    pub(super) fn leave_all(&mut self) {
        self.active = 0;
        self.shares
            .values_mut()
            .for_each(|share| share.searches = 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(number: u8) -> ClientId {
        ClientId::at([192, 0, 2, number].into())
    }

    #[test]
    fn what_was_given_long_ago_counts_less() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        for number in [1, 2] {
            clients.enter(&client(number));
        }
        clients.give(&client(1), 100.0, start);
        let later = start + Duration::from_secs_f64(HALF_LIFE);
        clients.give(&client(2), 60.0, later);
        assert_eq!(
            [1, 2].map(|number| clients.given(&client(number))),
            [50.0, 60.0]
        );
        // A year later, too.
        let year = start + Duration::from_secs(31_536_000);
        clients.give(&client(1), 10.0, year);
        assert_eq!(clients.given(&client(1)), 10.0);
    }

    #[test]
    fn a_new_client_counts_as_the_one_that_was_given_least() {
        let (mut clients, now) = (Clients::default(), Instant::now());
        for number in [1, 2] {
            clients.enter(&client(number));
        }
        for (number, nonces) in [(1, 100.0), (2, 30.0)] {
            clients.give(&client(number), nonces, now);
        }
        clients.enter(&client(3));
        assert_eq!(clients.given(&client(3)), 30.0);
        // One that comes back is the same as before.
        clients.leave(&client(1));
        clients.enter(&client(1));
        assert_eq!(clients.given(&client(1)), 100.0);
    }

    #[test]
    fn clients_without_searches_are_forgotten_when_they_are_many() {
        let mut clients = Clients::default();
        clients.enter(&client(0));
        for number in 0..2 * u32::try_from(REMEMBERED).unwrap() {
            let client = ClientId::at(std::net::Ipv4Addr::from_bits(number).into());
            clients.enter(&client);
            clients.leave(&client);
        }
        assert!(
            clients.shares.len() <= 1 + REMEMBERED,
            "{}",
            clients.shares.len()
        );
        assert!(!clients.are_several());
    }
}
