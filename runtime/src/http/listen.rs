//! Connections: how many there may be, and how long one may take to ask for something.
//!
//! Nobody has shown a key yet when a connection is accepted, so whoever can reach the port can cost
//! the server what is granted here, and no more.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::model::limits;

/// How long to wait when the system gives no more connections, as when it is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What is granted to strangers.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open at a time; the others wait in the system's queue.
    pub max_connections: usize,
    /// From when a connection may send a request until its head is there.
    pub head_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_connections: limits::MAX_CONNECTIONS, head_timeout: limits::MAX_HEAD_WAIT }
    }
}

/// Answers requests until `stop` says so; then accepts no more connections, and returns when those
/// that are open have got their answers. Whoever does not want to wait so long drops the future.
pub async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, mut stop: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < limits.max_connections => match accepted {
                Ok((stream, _)) => drop(open.spawn(answer(stream, router.clone(), limits.head_timeout, stop.clone()))),
                Err(error) => pause(error).await,
            },
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Waits, unless the connection itself was the reason: then the next may be good.
async fn pause(error: std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "no connection could be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, router: Router, head_timeout: Duration, mut stop: watch::Receiver<bool>) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(limits::MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(50);
    /// Nothing here takes so long.
    const LONG: Duration = Duration::from_secs(600);

    struct Served {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        serving: JoinHandle<()>,
    }

    async fn serving(router: Router, max_connections: usize, head_timeout: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let limits = ConnectionLimits { max_connections, head_timeout };
        Served { address, stop, serving: tokio::spawn(serve(listener, router, limits, stopped)) }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// Sends `bytes` on a connection of its own and answers with what came back before the server
    /// closed it.
    async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        let served = serving(hello(), 10, SHORT).await;
        for half in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: te"] {
            assert_eq!(exchange(served.address, half).await, "", "{half:?}");
        }
        let answer = exchange(served.address, REQUEST).await;
        assert!(answer.ends_with("hello"), "an idle connection is closed after its answer: {answer}");
    }

    #[tokio::test]
    async fn no_more_connections_are_answered_at_a_time_than_are_granted() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let handler = async move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        };
        let served = serving(Router::new().route("/", get(handler)), 2, LONG).await;
        let mut clients = JoinSet::new();
        for _ in 0..10 {
            clients.spawn(exchange(served.address, LAST_REQUEST));
        }
        for answer in clients.join_all().await {
            assert!(answer.starts_with("HTTP/1.1 200"), "those that wait are answered later: {answer}");
        }
        assert!(seen.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn a_stop_closes_idle_connections_and_answers_open_requests() {
        let (asked, mut is_asked) = watch::channel(false);
        let (open, may_answer) = watch::channel(false);
        let handler = async move || {
            asked.send_replace(true);
            let _ = may_answer.clone().wait_for(|open| *open).await;
            "at last"
        };
        let served = serving(Router::new().route("/", get(handler)), 10, LONG).await;
        let idle = TcpStream::connect(served.address).await.unwrap();
        let request = tokio::spawn(exchange(served.address, REQUEST));
        is_asked.wait_for(|asked| *asked).await.unwrap();

        served.stop.send_replace(true);

        let mut idle = idle;
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "the idle one is closed");
        assert!(!served.serving.is_finished(), "a request is still open");
        open.send_replace(true);
        assert!(request.await.unwrap().ends_with("at last"));
        served.serving.await.unwrap();
        assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    }
}
