//! Who watches runs, and is woken when something about them is committed.
//!
//! Changes are numbered in the order of their commits, and the last of them are kept: who went away
//! for a moment tells the number it knows and hears what came after. A watcher that is not waiting
//! just then finds the change with its next wait: nothing is missed by whoever subscribes before it
//! looks. Nobody is woken for what they do not watch. The list is in memory alone: who comes with a
//! number from before a restart starts again, and no run pays for a log of changes in the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::runs::parse_tags;
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::{BatchId, EnvironmentId, RunId};

/// Changes that are kept for those who went away for a moment.
const MAX_KEPT_CHANGES: usize = 65_536;
/// Changes that wait for one watcher; when there are more, it must look at everything.
const MAX_WAITING_CHANGES: usize = 4_096;

/// Items whose batches hear of a change of the run that these found, beside the batch that made it:
/// those of the newest batches. The others' feeds show it when they begin.
const MAX_SHARING_ITEMS: u32 = 1_000;

/// What can be watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Every run.
    Any,
    /// One run.
    Run(RunId),
    /// The runs of an environment with a tag.
    Tag(EnvironmentId, String),
    /// The runs of a batch, also those that were there before it; see [`MAX_SHARING_ITEMS`].
    Batch(BatchId),
    /// The streams of a run. Their changes wake, and are not in [`Changes`].
    Streams(RunId),
}

impl Topic {
    /// Whether it takes a look at a run to know that the run is of this topic.
    fn needs_a_look(&self) -> bool {
        match self {
            Self::Any | Self::Run(_) | Self::Streams(_) => false,
            Self::Tag(..) | Self::Batch(_) => true,
        }
    }
}

/// A place in the sequence of changes, of one life of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Another one after each start of the server.
    pub life: u64,
    /// Changes so far.
    pub number: u64,
}

/// What changed, and up to where that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The runs, perhaps with others; `None`: not known any more, everything may have changed.
    pub runs: Option<Vec<RunId>>,
    /// Everything up to here is in `runs`.
    pub position: Position,
}

/// The watchers of this process.
#[derive(Debug)]
pub(super) struct Watchers {
    life: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    watching: HashMap<Topic, Vec<Arc<Watcher>>>,
    /// Watched topics that need a look.
    to_look_for: usize,
    /// Changes so far; the last of `kept` is this one.
    number: u64,
    kept: VecDeque<RunId>,
}

#[derive(Debug, Default)]
struct Watcher {
    notify: Notify,
    /// `None`: too many.
    changed: Mutex<Option<Vec<RunId>>>,
}

impl Watcher {
    fn waiting(&self) -> MutexGuard<'_, Option<Vec<RunId>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, run: RunId) {
        let mut waiting = self.waiting();
        if waiting.as_ref().is_some_and(|runs| runs.len() >= MAX_WAITING_CHANGES) {
            *waiting = None;
        }
        if let Some(runs) = waiting.as_mut() {
            runs.push(run);
        }
        drop(waiting);
        self.notify.notify_one();
    }
}

/// Wakes when something changes; as long as it lives.
#[derive(Debug)]
pub struct Watch {
    topics: Vec<Topic>,
    watcher: Arc<Watcher>,
    watchers: Arc<Watchers>,
}

impl Watch {
    /// Resolves when something has changed since the last time, or since the watch began.
    pub async fn changed(&self) {
        self.watcher.notify.notified().await;
    }

    /// Where the sequence of changes is now.
    pub fn position(&self) -> Position {
        Position { life: self.watchers.life, number: self.watchers.state().number }
    }

    /// Every change since `position`, whether it is of a topic of this watch or not. What
    /// [`Self::next`] would have answered is in it.
    pub fn since(&self, position: Position) -> Changes {
        let state = self.watchers.state();
        *self.watcher.waiting() = Some(Vec::new());
        let now = Position { life: self.watchers.life, number: state.number };
        let missing = state.number.checked_sub(position.number).filter(|_| position.life == self.watchers.life);
        let missing = missing.and_then(|missing| usize::try_from(missing).ok());
        let missing = missing.filter(|missing| *missing <= state.kept.len());
        let runs = missing.map(|missing| state.kept.range(state.kept.len() - missing..).copied().collect());
        Changes { runs: runs.map(without_repetitions), position: now }
    }

    /// The runs of the watched topics that have changed since the last time: none that changed up to
    /// the position of the answer is missing.
    pub fn next(&self) -> Changes {
        let state = self.watchers.state();
        let runs = self.watcher.waiting().replace(Vec::new());
        let position = Position { life: self.watchers.life, number: state.number };
        Changes { runs: runs.map(without_repetitions), position }
    }
}

fn without_repetitions(mut runs: Vec<RunId>) -> Vec<RunId> {
    runs.sort_unstable();
    runs.dedup();
    runs
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.watchers.state();
        for topic in &self.topics {
            if let Some(watching) = state.watching.get_mut(topic) {
                watching.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
                if watching.is_empty() {
                    state.watching.remove(topic);
                }
            }
            state.to_look_for -= usize::from(topic.needs_a_look());
        }
    }
}

impl Watchers {
    /// `life` is another number after each start of the server.
    pub(super) fn new(life: u64) -> Self {
        Self { life, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches some topics.
    pub(super) fn watch(self: &Arc<Self>, mut topics: Vec<Topic>) -> Watch {
        topics.sort();
        topics.dedup();
        let watcher = Arc::new(Watcher { notify: Notify::new(), changed: Mutex::new(Some(Vec::new())) });
        let mut state = self.state();
        for topic in &topics {
            state.to_look_for += usize::from(topic.needs_a_look());
            state.watching.entry(topic.clone()).or_default().push(watcher.clone());
        }
        drop(state);
        Watch { topics, watcher, watchers: self.clone() }
    }

    /// Wakes whoever watches the streams of these runs.
    pub(super) fn streams_changed(&self, runs: &[RunId]) {
        if runs.is_empty() {
            return;
        }
        let state = self.state();
        for run in runs {
            let watching = state.watching.get(&Topic::Streams(*run));
            watching.into_iter().flatten().for_each(|watcher| watcher.notify.notify_one());
        }
    }

    /// Wakes whoever watches these runs, or one of the topics that [`find_topics`] found. Where it
    /// did not look, whoever has begun to watch such topics meanwhile hears of all of them.
    pub(super) fn changed(&self, runs: &[RunId], found: Option<&[(RunId, Topic)]>) {
        if runs.is_empty() {
            return;
        }
        let mut state = self.state();
        for run in runs {
            if state.kept.len() == MAX_KEPT_CHANGES {
                state.kept.pop_front();
            }
            state.kept.push_back(*run);
            state.number += 1;
        }
        if state.watching.is_empty() {
            return;
        }
        let wake = |run: RunId, topic: &Topic| {
            state.watching.get(topic).into_iter().flatten().for_each(|watcher| watcher.add(run));
        };
        for run in runs {
            wake(*run, &Topic::Run(*run));
            wake(*run, &Topic::Any);
        }
        if let Some(found) = found {
            found.iter().for_each(|(run, topic)| wake(*run, topic));
        } else if state.to_look_for > 0 {
            for topic in state.watching.keys().filter(|topic| topic.needs_a_look()) {
                runs.iter().for_each(|run| wake(*run, topic));
            }
        }
    }
}

/// The topics of the runs that a transaction changed; `None`: nobody watches such topics. Called
/// after the commit: who begins to watch later finds the change when they look.
pub(super) fn find_topics(
    tx: &Tx<'_>,
    runs: &[RunId],
    watchers: &Watchers,
) -> Result<Option<Vec<(RunId, Topic)>>, Error> {
    let sql = "SELECT environment_id, batch_id, tags FROM runs WHERE id = ?1";
    let sharing = "SELECT batch_id FROM batch_items WHERE run_id = ?1 AND found = 1 ORDER BY batch_id DESC LIMIT ?2";
    if runs.is_empty() || watchers.state().to_look_for == 0 {
        return Ok(None);
    }
    let mut found = Vec::new();
    for run in without_repetitions(runs.to_vec()) {
        let topics = tx.row(sql, values![run], |row| {
            let environment: EnvironmentId = row.column()?;
            let batch: Option<BatchId> = row.column()?;
            let tags = row.parsed(parse_tags)?;
            let tags = tags.into_iter().map(|tag| Topic::Tag(environment, tag));
            Ok(tags.chain(batch.map(Topic::Batch)).collect::<Vec<_>>())
        })?;
        let mut sharing: Vec<BatchId> = tx.rows(sharing, values![run, MAX_SHARING_ITEMS], |row| row.column())?;
        sharing.dedup();
        found.extend(sharing.into_iter().map(|batch| (run, Topic::Batch(batch))));
        found.extend(topics.into_iter().flatten().map(|topic| (run, topic)));
    }
    Ok(Some(found))
}

impl Storage {
    /// Wakes when something about a run changes, or about any run. Watch before you look.
    pub fn watch(&self, run: Option<RunId>) -> Watch {
        self.watch_topics(vec![run.map_or(Topic::Any, Topic::Run)])
    }

    /// Topics that are watched just now.
    pub fn watched_topics(&self) -> usize {
        self.listeners.watchers.state().watching.len()
    }

    /// Wakes when something about a run of one of these topics changes. Watch before you look.
    pub fn watch_topics(&self, topics: Vec<Topic>) -> Watch {
        self.listeners.watchers.watch(topics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_pending(watch: &Watch) -> bool {
        let mut changed = std::pin::pin!(watch.changed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        changed.as_mut().poll(&mut context).is_pending()
    }

    #[tokio::test]
    async fn a_change_wakes_its_watchers_also_when_they_look_later() {
        let watchers = Arc::new(Watchers::new(1));
        let (run, other) = (RunId::from_bits(1), RunId::from_bits(2));
        let watch = |topic: Topic| watchers.watch(vec![topic]);
        let (of_run, of_other, of_all) = (watch(Topic::Run(run)), watch(Topic::Run(other)), watch(Topic::Any));
        watchers.changed(&[run], None);
        of_run.changed().await;
        of_all.changed().await;
        assert!(is_pending(&of_other));
        assert!(is_pending(&of_run), "one change wakes once");
        drop((of_run, of_other, of_all));
        assert!(watchers.state().watching.is_empty());
    }

    #[test]
    fn who_went_away_hears_what_came_after() {
        let watchers = Arc::new(Watchers::new(1));
        let batch = Topic::Batch(BatchId::from_bits(9));
        let watch = watchers.watch(vec![batch.clone()]);
        let start = watch.position();
        let (one, two) = (RunId::from_bits(1), RunId::from_bits(2));
        watchers.changed(&[two, one, two], Some(&[(two, batch.clone())]));
        let next = watch.next();
        assert_eq!(next.runs, Some(vec![two]), "of its topic");
        drop(watch);
        let again = watchers.watch(vec![batch]);
        assert_eq!(again.since(start).runs, Some(vec![one, two]), "all");
        assert_eq!(again.since(next.position).runs, Some(Vec::new()));
        assert_eq!(again.since(Position { life: 2, ..start }).runs, None, "another life");
        assert_eq!(again.since(Position { number: 99, ..start }).runs, None, "not yet");
        assert_eq!(watchers.state().to_look_for, 1);
    }

    /// They watch when the change is made known, and did not when its topics were looked for: what
    /// they are told must be as far as the position that they get.
    #[test]
    fn who_begins_to_watch_while_a_change_is_made_known_hears_of_it() {
        let watchers = Arc::new(Watchers::new(1));
        let run = RunId::from_bits(1);
        let of_batch = watchers.watch(vec![Topic::Batch(BatchId::from_bits(9))]);
        let of_other = watchers.watch(vec![Topic::Run(RunId::from_bits(2))]);
        let start = of_batch.position();
        assert_eq!(of_batch.since(start).runs, Some(Vec::new()), "it is not there yet");
        watchers.changed(&[run], None);
        let next = of_batch.next();
        assert_eq!((next.runs, next.position.number), (Some(vec![run]), start.number + 1));
        assert_eq!(of_other.next().runs, Some(Vec::new()), "who watches a run is told of that one");
    }

    #[test]
    fn what_is_too_much_is_not_kept() {
        let watchers = Arc::new(Watchers::new(1));
        let watch = watchers.watch(vec![Topic::Any]);
        let start = watch.position();
        let runs: Vec<RunId> = (0..=MAX_KEPT_CHANGES as u128).map(RunId::from_bits).collect();
        watchers.changed(&runs, None);
        assert_eq!(watch.next().runs, None);
        assert_eq!(watch.next().runs, Some(Vec::new()), "and then goes on");
        assert_eq!(watch.since(start).runs, None);
        assert_eq!(watchers.state().kept.len(), MAX_KEPT_CHANGES);
    }
}
