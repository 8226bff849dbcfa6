//! Health and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! Invariant: `/livez` asks nobody but this process, so that a broken dependency never gets a healthy worker killed.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidemill_runtime::clock::Clock;
use tidemill_runtime::health::Health;
use tidemill_runtime::telemetry::Telemetry;

/// What is served.
#[derive(Clone)]
pub struct Served {
    pub health: Health,
    pub telemetry: Telemetry,
    pub clock: Arc<dyn Clock>,
}

/// Serves on `address` until the process ends. The port is bound before this returns.
pub async fn serve(
    address: &str,
    served: Served,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>> + use<>)> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(served);
    Ok((address, async move { axum::serve(listener, router).await }))
}

async fn livez(State(served): State<Served>) -> Response {
    if served.health.is_alive(served.clock.unix_ms()) {
        (StatusCode::OK, "alive\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a worker has made no step for a minute\n").into_response()
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    let view = served.health.view(served.clock.unix_ms());
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(view)).into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    served.health.export(&served.telemetry, served.clock.unix_ms());
    match served.telemetry.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
