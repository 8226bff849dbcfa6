//! Logs on standard error: JSON lines for commands that run as a service, text for the others.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Whether the command works until it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    Service,
    Once,
}

pub(crate) fn start(level: LogLevel, running: Running) {
    // The message of a panic may hold values of a record, so only its place is printed.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(code = "panic", place, "a thread panicked");
    }));
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    // The client library reports what the engine answers and logs itself, with a code.
    let filter = EnvFilter::new(format!("{level},librdkafka=off,rdkafka=off,sqlx=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match running {
        Running::Service => builder.json().flatten_event(true).init(),
        Running::Once => builder.without_time().with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
