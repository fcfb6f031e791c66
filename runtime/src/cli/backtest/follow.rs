//! Watches a backtest until it is over, or until Ctrl-C: the backtest goes on in any case.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context;

use super::{ROUTE, show};
use crate::api::{BacktestItem, BacktestStatus};
use crate::cli::client::{Answer, Client, Route};
use crate::cli::output::{DIM, Output, Progress, clean};

/// How long to wait before the second question; the pause doubles from there.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest time between two questions.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How watching ended.
pub(in crate::cli) enum Followed {
    /// The backtest is over.
    Over(Box<Answer<BacktestItem>>),
    /// Somebody pressed Ctrl-C.
    Detached,
}

/// Watches a backtest, with a bar for people.
pub(in crate::cli) fn follow(client: &Client, id: &str, output: Output) -> anyhow::Result<Followed> {
    let interrupts = interrupts()?;
    let mut bar: Option<Progress> = None;
    let mut pause = MIN_PAUSE;
    loop {
        let answer = client.get::<BacktestItem>(Route::new(ROUTE).segment(id));
        let lost = || format!("{} is out of sight; come back with: dacapo backtest show {id} --wait", clean(id));
        let answer = answer.with_context(lost)?;
        let item = &answer.value;
        if item.status != BacktestStatus::Pending {
            return Ok(Followed::Over(Box::new(answer)));
        }
        let bar = bar.get_or_insert_with(|| output.count_bar(item.planned, ""));
        bar.position(item.done);
        bar.message(&show::summary(item));
        match interrupts.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => pause = MAX_PAUSE.min(pause * 2),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(Followed::Detached),
        }
    }
}

/// Hears SIGINT and SIGTERM from now on, once; then they end the process as ever.
fn interrupts() -> std::io::Result<Receiver<()>> {
    let (heard, interrupts) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let signal = {
        let _within = runtime.enter();
        crate::cli::server::stop_signal()?
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            signal.await;
            // Whoever watched has left.
            let _ = heard.send(());
            std::future::pending::<()>().await;
        });
    })?;
    Ok(interrupts)
}

/// Says how to come back to a backtest.
pub(in crate::cli) fn note_detached(output: Output, id: &str) -> std::io::Result<()> {
    let id = clean(id);
    output.note(format_args!("{DIM}  it goes on; come back with: dacapo backtest show {id} --wait{DIM:#}"))?;
    output.note(format_args!("{DIM}  or stop it with: dacapo backtest abort {id}{DIM:#}"))
}
