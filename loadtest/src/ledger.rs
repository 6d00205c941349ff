//! Who got what: every member's account of its room, exact even when things go wrong.
//!
//! Invariant: at any time each publication up to the newest seen is received or in `missing`.

use serde::{Deserialize, Serialize};

/// One member's account.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The number after the newest one received.
    next: u32,
    /// What was passed over, in ascending order. Empty in a healthy run, and then not allocated.
    missing: Vec<u32>,
}

/// What a swarm's ledgers saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Published and never received.
    pub(crate) lost: u64,
    /// Received again.
    pub(crate) duplicate: u64,
    /// Received after one that was published later.
    pub(crate) out_of_order: u64,
    /// Received by someone who is not in the room.
    pub(crate) misdelivered: u64,
}

impl Faults {
    /// Whether all is as it should be.
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }

    /// Ends a run in which something went wrong; `whom` says at which server, or nothing.
    pub(crate) fn ensure_none(self, whom: &str) -> anyhow::Result<()> {
        let colon = if whom.is_empty() { "" } else { ": " };
        anyhow::ensure!(
            self.none(),
            "{whom}{colon}not every member got everything once and in order: {self:?}"
        );
        Ok(())
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.out_of_order += other.out_of_order;
        self.misdelivered += other.misdelivered;
    }
}

impl Ledger {
    /// An account that starts with publication number `next`.
    pub(crate) const fn starting_at(next: u32) -> Self {
        Self {
            next,
            missing: Vec::new(),
        }
    }

    /// Enters a publication; answers whether it was new.
    pub(crate) fn enter(&mut self, seq: u32, faults: &mut Faults) -> bool {
        if seq >= self.next {
            self.missing.extend(self.next..seq);
            self.next = seq + 1;
            return true;
        }
        if let Ok(index) = self.missing.binary_search(&seq) {
            self.missing.remove(index);
            faults.out_of_order += 1;
            return true;
        }
        faults.duplicate += 1;
        false
    }

    /// How many of the first `published` publications are missing.
    pub(crate) fn lost(&self, published: u32) -> u64 {
        let behind = published.saturating_sub(self.next);
        self.missing.len() as u64 + u64::from(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seqs: &[u32], published: u32) -> Faults {
        let (mut ledger, mut faults) = (Ledger::default(), Faults::default());
        for &seq in seqs {
            ledger.enter(seq, &mut faults);
        }
        faults.lost = ledger.lost(published);
        faults
    }

    #[test]
    fn what_comes_once_and_in_order_is_no_fault() {
        assert!(after(&[0, 1, 2, 3], 4).none());
    }

    #[test]
    fn a_gap_is_a_loss_until_it_is_filled() {
        let lost = after(&[0, 3], 4);
        assert_eq!((lost.lost, lost.out_of_order), (2, 0));
        let late = after(&[0, 3, 1, 2], 4);
        assert_eq!((late.lost, late.out_of_order, late.duplicate), (0, 2, 0));
    }

    #[test]
    fn the_tail_that_never_came_is_lost() {
        assert_eq!(after(&[0, 1], 5).lost, 3);
        assert_eq!(after(&[], 5).lost, 5);
    }

    #[test]
    fn the_second_copy_is_a_duplicate_also_of_a_late_one() {
        assert_eq!(after(&[0, 0], 1).duplicate, 1);
        let late = after(&[1, 0, 0], 2);
        assert_eq!((late.out_of_order, late.duplicate, late.lost), (1, 1, 0));
    }

    #[test]
    fn an_account_may_start_in_the_middle() {
        let (mut ledger, mut faults) = (Ledger::starting_at(10), Faults::default());
        assert!(ledger.enter(10, &mut faults));
        assert!(!ledger.enter(9, &mut faults));
        assert_eq!((ledger.lost(12), faults.duplicate), (1, 1));
    }
}
