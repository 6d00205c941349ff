//! How many connections somebody has, and how fast more come: by address, and by user.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;
use parking_lot::Mutex;

use crate::budget::{Budget, Rate};

/// How many are remembered that have no connection, before those are forgotten whose buckets are full.
const MAX_REMEMBERED: usize = 65_536;

/// What each of many may have.
#[derive(Debug)]
pub(crate) struct Quota<K> {
    /// Connections; any number where it is 0.
    most: u32,
    /// New ones.
    rate: Option<Rate>,
    entries: Mutex<HashMap<K, Entry, RandomState>>,
}

#[derive(Debug, Default)]
struct Entry {
    held: u32,
    budget: Budget,
}

/// One connection of somebody; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<K: Eq + Hash> {
    quota: Arc<Quota<K>>,
    key: K,
}

/// Why somebody may not have another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// They have as many as they may.
    Held(u32),
    /// They come too fast.
    Rate,
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Of each at most so many connections at once, and new ones in a second; 0 is any number. `None`
    /// where nothing is bounded.
    pub(crate) fn new(most: u32, a_second: u32) -> Option<Arc<Self>> {
        let rate = Rate::a_second(a_second);
        (most > 0 || rate.is_some()).then(|| {
            Arc::new(Self {
                most,
                rate,
                entries: Mutex::default(),
            })
        })
    }

    /// Counts one more, if there may be.
    pub(crate) fn claim(self: &Arc<Self>, key: K) -> Result<Claim<K>, Exceeded> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_REMEMBERED && !entries.contains_key(&key) {
            entries.retain(|_, entry| entry.held > 0 || !entry.budget.is_full(now));
        }
        let entry = entries.entry(key.clone()).or_default();
        if let Some(rate) = self.rate {
            if !entry.budget.is_left(rate, now) {
                return Err(Exceeded::Rate);
            }
            entry.budget.take(1, rate, now);
        }
        if self.most > 0 && entry.held >= self.most {
            return Err(Exceeded::Held(self.most));
        }
        entry.held += 1;
        drop(entries);
        let quota = Arc::clone(self);
        Ok(Claim { quota, key })
    }
}

impl<K: Eq + Hash> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut entries = self.quota.entries.lock();
        if let Some(entry) = entries.get_mut(&self.key) {
            entry.held = entry.held.saturating_sub(1);
            // What came fast is remembered until it may come as fast again.
            if entry.held == 0 && self.quota.rate.is_none() {
                entries.remove(&self.key);
            }
        }
    }
}

/// Where a client is, as far as it is counted: an IPv4 address, or the /64 of IPv6 that one site has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Site(IpAddr);

impl From<IpAddr> for Site {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

impl Default for Site {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_gives_them_back() {
        let quota = Quota::new(2, 0).unwrap();
        let held: Vec<_> = (0..2).map(|_| quota.claim("a").unwrap()).collect();
        assert_eq!(quota.claim("a").unwrap_err(), Exceeded::Held(2));
        let _other = quota.claim("b").unwrap();
        drop(held);
        assert!(quota.claim("a").is_ok());
        assert_eq!(quota.entries.lock().len(), 1, "who has none is forgotten");
        assert!(Quota::<u8>::new(0, 0).is_none());
    }

    #[test]
    fn those_who_come_too_fast_are_told_so_and_nobody_else() {
        let quota = Quota::new(0, 3).unwrap();
        for _ in 0..3 {
            drop(quota.claim("a").unwrap());
        }
        assert_eq!(quota.claim("a").unwrap_err(), Exceeded::Rate);
        assert!(quota.claim("b").is_ok());
    }

    #[test]
    fn a_crowd_of_addresses_does_not_fill_the_memory() {
        let quota = Quota::new(0, 1_000_000).unwrap();
        for number in 0..3 * MAX_REMEMBERED {
            drop(quota.claim(number).unwrap());
        }
        assert!(quota.entries.lock().len() <= MAX_REMEMBERED + 1);
    }

    #[test]
    fn a_site_is_an_address_or_a_64() {
        let site = |text: &str| Site::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:2:ffff::"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:1:3::1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
        assert_eq!(site("::ffff:192.0.2.1"), site("192.0.2.1"));
    }
}
