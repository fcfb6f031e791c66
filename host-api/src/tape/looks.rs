//! What a recorded attempt saw of its metadata. Others change them, too, and earlier attempts did: what was seen holds
//! for a replay as long as it has changed them in the same way.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::journal::{Header, Kind, digest_of};
use crate::recording::Recording;
use crate::world::HostFault;

/// What was seen, from one change to the next.
#[derive(Default)]
pub(super) struct Looks {
    then: Vec<Between>,
    /// Tells apart what the guest has done.
    done: u64,
    changes: usize,
}

/// Between two changes of the attempt itself.
#[derive(Default)]
struct Between {
    /// Tells apart what it had done before.
    done: u64,
    /// What it saw, in order. The last is seen by whoever looks more often.
    all: VecDeque<String>,
    values: HashMap<String, VecDeque<Option<String>>>,
}

impl Looks {
    pub(super) fn of(recording: &Recording) -> Result<Self, HostFault> {
        let mut then = vec![Between::default()];
        for call in &recording.calls {
            let done = then.last().map_or(0, |last| last.done);
            let now = after(done, &call.header());
            if now != done {
                then.push(Between { done: now, ..Between::default() });
            }
            let Some(last) = then.last_mut() else { continue };
            match call.kind {
                Kind::MetadataAll => last.all.extend(call.answer::<String>()?),
                Kind::MetadataGet => last.values.entry(call.text.clone()).or_default().extend(call.answer()?),
                _ => {}
            }
        }
        Ok(Self { then, done: 0, changes: 0 })
    }

    pub(super) fn changes(&mut self, change: &Header<'_>) {
        self.done = after(self.done, change);
        self.changes += 1;
    }

    pub(super) fn all(&mut self) -> Option<String> {
        seen(&mut self.now()?.all)
    }

    pub(super) fn value(&mut self, key: &str) -> Option<Option<String>> {
        seen(self.now()?.values.get_mut(key)?)
    }

    fn now(&mut self) -> Option<&mut Between> {
        self.then.get_mut(self.changes).filter(|then| then.done == self.done)
    }
}

/// Metadata, as an attempt saw them before it changed any.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SeenFirst {
    /// All of them, a JSON object, if it looked at all.
    pub all: Option<String>,
    /// Keys at which it looked, with their values; `None`: there was none.
    pub values: Vec<(String, Option<String>)>,
}

impl SeenFirst {
    /// What a recorded attempt saw.
    ///
    /// # Errors
    ///
    /// If the recording is damaged.
    pub fn of(recording: &Recording) -> Result<Self, HostFault> {
        let (mut seen, mut keys) = (Self::default(), HashSet::new());
        for call in recording.calls.iter().take_while(|call| after(0, &call.header()) == 0) {
            match call.kind {
                Kind::MetadataAll if seen.all.is_none() => seen.all = call.answer()?,
                Kind::MetadataGet if keys.insert(&*call.text) => {
                    seen.values.extend(call.answer()?.map(|value| (call.text.clone(), value)));
                }
                _ => {}
            }
        }
        Ok(seen)
    }
}

fn after(before: u64, call: &Header<'_>) -> u64 {
    match call.kind.changes_metadata() || call.kind == Kind::ChangeMetadata {
        true => digest_of(&(before, call.kind, call.text, call.digest)).max(1),
        false => before,
    }
}

fn seen<T: Clone>(looks: &mut VecDeque<T>) -> Option<T> {
    if looks.len() > 1 { looks.pop_front() } else { looks.front().cloned() }
}
