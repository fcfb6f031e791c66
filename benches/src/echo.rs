//! An HTTP server that answers JSON with the same JSON: what HTTP alone costs.

use anyhow::Result;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;

/// Serves on a free port until the process is killed.
pub(crate) fn serve() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Without it, an answer in two packets waits for an acknowledgement; not worth failing.
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new().route("/echo", post(|Json(body): Json<Value>| async { Json(body) }));
        Ok(axum::serve(listener, router).await?)
    })
}
