//! What a comparison comes to, in one word.

use std::ops::AddAssign;

/// What a new version does with an old input, compared with what was done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The same, as far as the rules look.
    Same,
    /// It completes as then, with another output; or fails as then, with another error.
    OutputChanged,
    /// Its output is the same, but not what it wants of the world outside.
    EffectsChanged,
    /// It completed then, and fails now.
    NewlyFailing,
    /// It failed then, and completes now.
    Fixed,
    /// It completed then, and now passes a limit of memory or time.
    OverBudget,
    /// The new version does not take the payload.
    PayloadRejected,
    /// There is no recording of it, or none that can be used.
    NotReplayable,
}

words!(Verdict {
    Same = "same",
    OutputChanged = "output-changed",
    EffectsChanged = "effects-changed",
    NewlyFailing = "newly-failing",
    Fixed = "fixed",
    OverBudget = "over-budget",
    PayloadRejected = "payload-rejected",
    NotReplayable = "not-replayable",
});

impl Verdict {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Same,
        Self::Fixed,
        Self::OutputChanged,
        Self::EffectsChanged,
        Self::NewlyFailing,
        Self::OverBudget,
        Self::PayloadRejected,
        Self::NotReplayable,
    ];

    /// Whether a gate stays open: nothing differs, or only for the better. A run that cannot be replayed
    /// says nothing about a version.
    pub fn is_clean(self) -> bool {
        matches!(self, Self::Same | Self::Fixed | Self::NotReplayable)
    }
}

/// How many replays came to each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    of: [u64; Verdict::ALL.len()],
    troubled: u64,
}

impl Counts {
    /// One more of these.
    pub fn add(&mut self, verdict: Verdict) {
        self.of[verdict as usize] += 1;
    }

    /// One more on which the server could not execute the version. That it could not may be the version's doing, so
    /// that it speaks against a promotion.
    pub fn add_troubled(&mut self) {
        self.add(Verdict::NotReplayable);
        self.troubled += 1;
    }

    /// How many of these.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.of[verdict as usize]
    }

    /// Of those that are not replayable: on how many the server could not execute the version.
    pub fn troubled(&self) -> u64 {
        self.troubled
    }

    /// Sets how many there are of these.
    pub fn set(&mut self, verdict: Verdict, count: u64) {
        self.of[verdict as usize] = count;
    }

    /// Sets on how many the server could not execute the version; they are among those that are not replayable.
    pub fn set_troubled(&mut self, count: u64) {
        self.troubled = count;
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.of.iter().sum()
    }

    /// Those about which something is known.
    pub fn known(&self) -> u64 {
        self.total() - self.of(Verdict::NotReplayable)
    }

    /// Those that speak against a promotion.
    pub fn differences(&self) -> u64 {
        let unclean = Verdict::ALL.into_iter().filter(|verdict| !verdict.is_clean());
        unclean.map(|verdict| self.of(verdict)).sum::<u64>() + self.troubled
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for verdict in Verdict::ALL {
            self.of[verdict as usize] += other.of(verdict);
        }
        self.troubled += other.troubled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clean_is_no_difference() {
        let mut counts = Counts::default();
        for verdict in Verdict::ALL {
            counts.add(verdict);
        }
        counts += counts;
        assert_eq!((counts.total(), counts.differences(), counts.of(Verdict::Fixed)), (16, 10, 2));
        counts.add_troubled();
        assert_eq!((counts.of(Verdict::NotReplayable), counts.differences(), counts.known()), (3, 11, 14));
    }
}
