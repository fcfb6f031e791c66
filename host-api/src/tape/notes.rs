//! What a replayed guest asks, as far as anybody wants to know it afterwards: the calls that reach beyond
//! the run, and what it does to its metadata. Answers are not kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Session;
use crate::journal::{Header, Kind};
use crate::recording::{Call, Recording, after_change};

/// Bytes that a call costs beside its texts.
pub(super) const CALL_BYTES: usize = 128;

/// The calls so far. Clones are the same.
#[derive(Clone)]
pub(crate) struct Notes(Arc<Inner>);

struct Inner {
    session: Session,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    calls: Recording,
    metadata: u64,
}

impl Notes {
    pub(super) fn new(session: Session) -> Self {
        Self(Arc::new(Inner { session, noted: Mutex::default() }))
    }

    /// The guest asks this.
    pub(crate) fn asked(&self, header: &Header<'_>) {
        let mut noted = self.lock();
        noted.metadata = after_change(noted.metadata, header);
        let is_body = matches!(header.kind, Kind::RequestBody | Kind::FinishBody) && header.exchange > 0;
        let is_wanted = header.kind.reach().is_some() || is_body;
        // Without room the replay is over, and says so.
        if is_wanted && self.0.session.take(CALL_BYTES + header.text.len() + header.detail.len()) {
            noted.calls.calls.push(Call::unanswered(header));
        }
    }

    /// The calls, which are given away.
    pub(super) fn taken(&self) -> Recording {
        std::mem::take(&mut self.lock().calls)
    }

    /// Tells apart what guests did to their own metadata.
    pub(super) fn metadata_digest(&self) -> u64 {
        self.lock().metadata
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
