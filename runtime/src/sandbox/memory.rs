//! Memory of guests: each has its machine's limit, all together have the process's.
//!
//! A guest whose machine has more than the process is held to what the process has: it would never
//! get more, however often it was tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::engine::{MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// What all guests of the process may have together.
pub(super) struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, used_bytes: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self.used_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes)
        });
        taken.is_ok()
    }
}

/// Who said no when a guest wanted more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The guest's own limit, in bytes.
    Machine(usize),
    /// All that this process can give to one guest, in bytes, which is less than its machine has.
    Host(u64),
    /// What neighbours have left of the process's bytes. Not the guest's fault.
    Neighbours(u64),
}

/// Shows how much memory a guest has. Clones show the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The memory of one guest. Growth that then fails for another reason stays counted.
pub(super) struct Memory {
    limit_bytes: usize,
    used_bytes: usize,
    gauge: Gauge,
    table_elements: usize,
    refusal: Option<Refusal>,
    budget: Arc<Budget>,
}

impl Memory {
    pub(super) fn new(limit_bytes: usize, budget: Arc<Budget>) -> Self {
        Self { limit_bytes, used_bytes: 0, gauge: Gauge::default(), table_elements: 0, refusal: None, budget }
    }

    /// Shows how much is used, which is the most that was: memories never shrink.
    pub(super) fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Who refused the guest memory last, if anybody did.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.used_bytes as u64, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let sum = self.used_bytes.saturating_add(growth);
        if sum as u64 > self.budget.limit_bytes && sum <= self.limit_bytes {
            self.refusal = Some(Refusal::Host(self.budget.limit_bytes));
            return Ok(false);
        }
        if sum > self.limit_bytes || maximum.is_some_and(|maximum| desired > maximum) {
            self.refusal = Some(Refusal::Machine(self.limit_bytes));
            return Ok(false);
        }
        if !self.budget.take(growth as u64) {
            self.refusal = Some(Refusal::Neighbours(self.budget.limit_bytes));
            return Ok(false);
        }
        self.used_bytes = sum;
        self.gauge.0.store(sum as u64, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let sum = self.table_elements.saturating_add(desired.saturating_sub(current));
        if sum > MAX_TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = sum;
        Ok(true)
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_its_limit_over_all_its_memories() {
        let mut memory = Memory::new(100, Arc::new(Budget::new(1_000)));
        assert!(memory.memory_growing(0, 60, None).expect("an answer"));
        assert!(!memory.memory_growing(0, 60, None).expect("an answer"));
        assert!(memory.memory_growing(0, 40, None).expect("an answer"));
        assert_eq!((memory.gauge().bytes(), memory.refusal()), (100, Some(Refusal::Machine(100))));
    }

    #[test]
    fn a_guest_alone_is_refused_what_the_host_could_never_give() {
        let mut memory = Memory::new(200, Arc::new(Budget::new(150)));
        assert!(memory.memory_growing(0, 150, None).expect("an answer"));
        assert!(!memory.memory_growing(150, 151, None).expect("an answer"));
        assert_eq!(memory.refusal(), Some(Refusal::Host(150)));
    }

    #[test]
    fn all_guests_share_the_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(150));
        let mut first = Memory::new(100, Arc::clone(&budget));
        let mut second = Memory::new(100, Arc::clone(&budget));
        assert!(first.memory_growing(0, 100, None).expect("an answer"));
        assert!(!second.memory_growing(0, 100, None).expect("an answer"));
        assert_eq!(second.refusal(), Some(Refusal::Neighbours(150)));
        drop(first);
        assert!(second.memory_growing(0, 100, None).expect("an answer"));
    }
}
