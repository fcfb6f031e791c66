//! One thread writes, and commits in groups.
//!
//! Verbs arrive as closures. The thread runs all that have arrived in one transaction, commits it
//! (which waits for the disk), and only then answers each caller: an answer means that the change
//! is on disk. While a commit waits for the disk the next group gathers, so the busier the server,
//! the fewer commits per verb.
//!
//! A verb must be able to run twice. When one of a group fails, the group is rolled back and each
//! verb runs again in a transaction of its own, so that a failure touches nobody else.
//!
//! A claim is a verb that may wait here until there is something to claim. It runs last in its
//! group: a run can be stored and claimed by one commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Error;
use super::changes::find_topics;
use super::effects::{Effects, Listeners, earliest};
use super::queue::{self, ClaimRequest, Claimed, PendingClaim};
use super::sql::{BEGIN, Tx};
use super::statistics::count_ends;
use crate::clock::Clock;

/// Verbs that may wait for the writer; one more is refused as [`Error::Busy`].
const MAX_WAITING_VERBS: usize = 8_192;
/// Verbs in one transaction.
const MAX_GROUP_VERBS: usize = 512;
/// A waiting claim looks at the clock this often, because clocks can be set.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The way to the writer thread.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    sender: SyncSender<Message>,
}

enum Message {
    Verb(Box<dyn Job>),
    Claim(OpenClaim),
    /// Look at the clock again.
    Nudge,
    /// Commit what is there, answer, and end.
    Stop(oneshot::Sender<()>),
}

struct OpenClaim {
    request: ClaimRequest,
    reply: oneshot::Sender<Result<Vec<Claimed>, Error>>,
}

/// A verb with its caller.
trait Job: Send {
    /// Runs the verb. `false`: it failed, and the transaction must not be committed.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers with the result of the last run, or with `failure` where the commit failed.
    fn answer(self: Box<Self>, failure: Option<&Error>);
}

struct TypedJob<T, V> {
    verb: V,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, V> Job for TypedJob<T, V>
where
    T: Send,
    V: FnMut(&mut Tx<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let result = (self.verb)(tx);
        let succeeded = result.is_ok();
        self.result = Some(result);
        succeeded
    }

    fn answer(self: Box<Self>, failure: Option<&Error>) {
        let result = match (failure, self.result) {
            (Some(failure), Some(Ok(_))) => Err(failure.again()),
            (_, Some(result)) => result,
            (_, None) => Err(Error::Closed),
        };
        let _ = self.reply.send(result);
    }
}

impl Writer {
    /// Starts the thread. It ends when it is told to, or when the last `Writer` is gone.
    pub(super) fn start(
        connection: rusqlite::Connection,
        listeners: Arc<Listeners>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_WAITING_VERBS);
        let state = State { connection, listeners, clock, open_claims: Vec::new(), ready_at: Some(Timestamp::MIN) };
        std::thread::Builder::new().name("storage-writer".into()).spawn(move || state.run(&receiver))?;
        Ok(Self { sender })
    }

    /// Runs a verb in a transaction and waits until it is on disk.
    pub(super) async fn write<T, V>(&self, verb: V) -> Result<T, Error>
    where
        T: Send + 'static,
        V: FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.post(verb)?.await
    }

    /// Runs a verb after all that were sent before; the future resolves when it is on disk. It is
    /// sent at once, whether or not anybody waits.
    pub(super) fn post<T, V>(&self, verb: V) -> Result<impl Future<Output = Result<T, Error>> + Send + 'static, Error>
    where
        T: Send + 'static,
        V: FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Verb(Box::new(TypedJob { verb, result: None, reply })))?;
        Ok(async move { answer.await.map_err(|_| Error::Closed)? })
    }

    /// Claims as soon as at least one run can be claimed. Where the answer finds nobody any more,
    /// the claimed runs go back to the queue.
    pub(super) fn claim(&self, request: ClaimRequest) -> Result<PendingClaim, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Claim(OpenClaim { request, reply }))?;
        Ok(PendingClaim { answer })
    }

    /// Makes waiting claims look at the clock.
    pub(super) fn nudge(&self) {
        let _ = self.sender.try_send(Message::Nudge);
    }

    /// Ends the thread after it has committed everything that was sent before.
    pub(super) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        let mut message = Message::Stop(done);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    message = back;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        let _ = stopped.await;
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.sender.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closed,
        })
    }
}

struct State {
    connection: rusqlite::Connection,
    listeners: Arc<Listeners>,
    clock: Clock,
    open_claims: Vec<OpenClaim>,
    /// No queued run can be claimed before; `None`: not until one is queued.
    ready_at: Option<Timestamp>,
}

impl State {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut group: Vec<Box<dyn Job>> = Vec::new();
        let mut stop = None;
        while stop.is_none() {
            let mut next = match receiver.recv_timeout(self.sleep()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(message) = next {
                match message {
                    Message::Verb(job) => group.push(job),
                    Message::Claim(claim) => self.open_claims.push(claim),
                    Message::Nudge => {}
                    Message::Stop(done) => stop = Some(done),
                }
                next = if group.len() < MAX_GROUP_VERBS { receiver.try_recv().ok() } else { None };
            }
            self.commit(std::mem::take(&mut group));
        }
        drop(self);
        if let Some(done) = stop {
            let _ = done.send(());
        }
    }

    /// How long nothing can become claimable by itself.
    fn sleep(&self) -> Duration {
        match self.ready_at {
            Some(at) if !self.open_claims.is_empty() => {
                let wait = at.duration_since(self.clock.now());
                Duration::try_from(wait).unwrap_or(Duration::ZERO).min(MAX_SLEEP)
            }
            // Nobody waits for the clock: sleep until a message comes.
            _ => Duration::from_secs(3_600),
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        self.open_claims.retain(|claim| !claim.reply.is_closed());
        if group.is_empty() && !self.can_claim(&Effects::default()) {
            return;
        }
        match self.try_commit(&mut group) {
            Ok(claims) => {
                group.into_iter().for_each(|job| job.answer(None));
                for (claim, claimed) in claims {
                    if let Err(Ok(lost)) = claim.reply.send(Ok(claimed)) {
                        self.give_back(lost);
                    }
                }
            }
            Err(_) if group.len() > 1 => group.into_iter().for_each(|job| self.commit(vec![job])),
            // The verb failed, and nothing else: who waits for a run goes on waiting.
            Err(Error::RolledBack) => group.into_iter().for_each(|job| job.answer(Some(&Error::RolledBack))),
            Err(failure) => {
                group.into_iter().for_each(|job| job.answer(Some(&failure)));
                for claim in self.open_claims.drain(..) {
                    let _ = claim.reply.send(Err(failure.again()));
                }
            }
        }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<(OpenClaim, Vec<Claimed>)>, Error> {
        let mut tx = Tx::new(&self.connection);
        tx.effects.begin(&self.listeners);
        tx.execute(BEGIN, &[])?;
        let mut failed = false;
        for job in group.iter_mut() {
            failed = !job.run(&mut tx);
            if failed {
                break;
            }
        }
        if failed {
            tx.execute("ROLLBACK", &[])?;
            // The job knows its own error; this one only says that the group did not commit.
            return Err(Error::RolledBack);
        }
        let counted = count_ends(&mut tx);
        let mut claims = Vec::new();
        let mut ready_at = earliest(self.ready_at, tx.effects.ready_at);
        let now = self.clock.now();
        let claimed = counted.and_then(|()| answer_open(&mut tx, &self.open_claims, &mut ready_at, now));
        let committed = claimed.and_then(|claimed| tx.execute("COMMIT", &[]).map(|_| claimed));
        match committed {
            Ok(claimed) => {
                self.ready_at = ready_at;
                match find_topics(&tx, tx.effects.changed_runs(), &self.listeners.watchers) {
                    Ok(topics) => tx.effects.set_topics(topics),
                    Err(error) => tracing::error!(%error, "the topics of a change are not known"),
                }
                self.listeners.committed(std::mem::take(&mut tx.effects));
                claims.extend(self.open_claims.drain(..claimed.len()).zip(claimed));
                Ok(claims)
            }
            Err(failure) => {
                let _ = tx.execute("ROLLBACK", &[]);
                tracing::error!(error = %failure, "a transaction failed");
                Err(failure)
            }
        }
    }

    fn can_claim(&self, effects: &Effects) -> bool {
        let ready_at = earliest(self.ready_at, effects.ready_at);
        !self.open_claims.is_empty() && ready_at.is_some_and(|at| at <= self.clock.now())
    }

    /// Queues runs again whose claimer went away before it heard of them.
    fn give_back(&mut self, claimed: Vec<Claimed>) {
        let now = self.clock.now();
        let verb = move |tx: &mut Tx<'_>| {
            queue::give_back_all(tx, &claimed, now)
                .inspect_err(|error| tracing::error!(%error, "runs could not go back to the queue"))
        };
        // Nobody waits for the answer.
        let (reply, _) = oneshot::channel();
        self.commit(vec![Box::new(TypedJob { verb, result: None, reply })]);
    }
}

/// Serves waiting claims in their order, as far as there is something to claim. The answer has as
/// many lists as claims were served.
fn answer_open(
    tx: &mut Tx<'_>,
    open: &[OpenClaim],
    ready_at: &mut Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<Vec<Claimed>>, Error> {
    let mut served = Vec::new();
    for claim in open {
        if ready_at.is_none_or(|at| at > now) {
            break;
        }
        let claimed = queue::claim(tx, &claim.request, now)?;
        if claimed.len() < claim.request.max_runs {
            *ready_at = queue::next_ready(tx)?;
        }
        if claimed.is_empty() {
            break;
        }
        served.push(claimed);
    }
    Ok(served)
}
