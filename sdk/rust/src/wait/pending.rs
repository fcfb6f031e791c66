//! One thing that is waited for.

use std::fmt;
use std::time::Duration;

use super::{after, wit};
use crate::runs::RunHandle;

/// Something that will be there later: a moment, the value of a token, the output of a child.
///
/// It costs nothing before it is waited for. Wait for it alone ([`wait`](Self::wait),
/// [`within`](Self::within)), or together with others ([`wait::all`](super::all),
/// [`wait::any`](super::any), [`wait::each`](super::each)). A child whose `Pending` is dropped
/// runs on; nobody hears of its end.
#[must_use = "nothing waits for it until it is told to: `.wait()`, `wait::all(…)`, `wait::any(…)`"]
pub struct Pending<T> {
    source: Source<T>,
    runs: Vec<RunHandle>,
}

/// Makes a value of what the host says.
type Read<T> = Box<dyn FnOnce(wit::Outcome) -> T>;

enum Source<T> {
    /// There already.
    Ready(T),
    /// Known to the host.
    Host { raw: wit::Pending, is_there: bool, read: Read<T> },
}

impl<T: 'static> Pending<T> {
    /// There at once. For tests of what takes a `Pending`.
    ///
    /// ```
    /// use dacapo::wait::Pending;
    ///
    /// assert_eq!(Pending::ready(42).map(|n| n + 1).wait(), 43);
    /// ```
    pub fn ready(value: T) -> Self {
        Self { source: Source::Ready(value), runs: Vec::new() }
    }

    /// What the host makes; outside a component a moment that has come.
    pub(crate) fn of_host(make: impl FnOnce() -> wit::Pending, read: impl FnOnce(wit::Outcome) -> T + 'static) -> Self {
        let source = if cfg!(target_arch = "wasm32") {
            Source::Host { raw: make(), is_there: false, read: Box::new(read) }
        } else {
            Source::Ready(read(wit::Outcome::Elapsed))
        };
        Self { source, runs: Vec::new() }
    }

    /// Names the runs that are waited for.
    pub(crate) fn of_runs(mut self, runs: Vec<RunHandle>) -> Self {
        self.runs = runs;
        self
    }

    /// The runs that are waited for, in the order of the batch: one for a child; none for a moment, a
    /// token, or what could not be triggered.
    pub fn runs(&self) -> &[RunHandle] {
        &self.runs
    }

    /// Waits until it is there.
    pub fn wait(mut self) -> T {
        wait_for_all(&mut [self.hold()]);
        self.take()
    }

    /// Waits until it is there, but no longer than this; then gives itself back, to be waited for again.
    ///
    /// ```no_run
    /// # use dacapo::prelude::*;
    /// # use std::time::Duration;
    /// # let child = runs::child("slow", ()).start::<()>();
    /// match child.within(Duration::from_secs(60)) {
    ///     Ok(outcome) => info!("it ended: {outcome:?}"),
    ///     Err(child) => {
    ///         warn!("{} takes long", child.runs()[0].id);
    ///         child.wait();
    ///     }
    /// }
    /// ```
    pub fn within(mut self, length: Duration) -> Result<T, Self> {
        if !self.is_there() {
            wait_for_any(&mut [self.hold(), after(length).hold()]);
        }
        if self.is_there() { Ok(self.take()) } else { Err(self) }
    }

    /// Changes what it gives, for example to wait for things of different types with
    /// [`wait::any`](super::any).
    pub fn map<U: 'static>(self, change: impl FnOnce(T) -> U + 'static) -> Pending<U> {
        let source = match self.source {
            Source::Ready(value) => Source::Ready(change(value)),
            Source::Host { raw, is_there, read } => {
                Source::Host { raw, is_there, read: Box::new(move |outcome| change(read(outcome))) }
            }
        };
        Pending { source, runs: self.runs }
    }
}

impl<T> Pending<T> {
    /// Whether a wait has said that it is there.
    pub(super) fn is_there(&self) -> bool {
        match &self.source {
            Source::Ready(_) => true,
            Source::Host { is_there, .. } => *is_there,
        }
    }

    /// Lends the host's half to [`wait_for_all`] or [`wait_for_any`].
    pub(super) fn hold(&mut self) -> Held<'_> {
        match &mut self.source {
            Source::Ready(_) => Held(None),
            Source::Host { is_there: true, .. } => Held(None),
            Source::Host { raw, is_there, .. } => Held(Some((raw, is_there))),
        }
    }

    /// What came of it, once it is there.
    pub(super) fn take(self) -> T {
        match self.source {
            Source::Ready(value) => value,
            Source::Host { raw, read, .. } => {
                read(raw.outcome().expect("the host has said that it is there, so that there is an outcome"))
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("is_there", &self.is_there()).field("runs", &self.runs).finish()
    }
}

/// One of several things that are waited for, whatever its type; nothing, where it is there.
pub(super) struct Held<'a>(Option<(&'a wit::Pending, &'a mut bool)>);

/// Waits until all of these are there.
pub(super) fn wait_for_all(held: &mut [Held<'_>]) {
    let missing: Vec<&wit::Pending> = held.iter().filter_map(|held| Some(held.0.as_ref()?.0)).collect();
    if missing.is_empty() {
        return;
    }
    wit::all(&missing);
    for held in held {
        if let Some((_, is_there)) = &mut held.0 {
            **is_there = true;
        }
    }
}

/// Waits until at least one of these is there.
pub(super) fn wait_for_any(held: &mut [Held<'_>]) {
    if held.iter().any(|held| held.0.is_none()) {
        return;
    }
    let all: Vec<&wit::Pending> = held.iter().filter_map(|held| Some(held.0.as_ref()?.0)).collect();
    for place in wit::any(&all) {
        let held = held.get_mut(place as usize).and_then(|held| held.0.as_mut());
        *held.expect("the host answers with places in the list that it was given").1 = true;
    }
}

/// The host answered with the outcome of something else.
#[cold]
pub(crate) fn unexpected(what: &str, outcome: &wit::Outcome) -> ! {
    panic!("the host gave for {what} the outcome of something else: {outcome:?}")
}
