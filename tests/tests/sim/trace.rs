//! What happened in a run: always as one number, and as text when somebody asks.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::scheduler::Sim;

/// Lines that are kept: the last ones tell the story.
const LINES_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn with_lines() -> Self {
        Self { lines: Some(VecDeque::new()), ..Self::default() }
    }

    pub(crate) fn note(&mut self, now: Duration, who: &str, what: &'static str, text: impl FnOnce() -> String) {
        self.line(now, who, what, text);
        self.events += 1;
        for byte in now.as_nanos().to_le_bytes().iter().chain(who.as_bytes()).chain(what.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Adds to the text alone: for what is heard only while somebody listens.
    pub(crate) fn line(&mut self, now: Duration, who: &str, what: &'static str, text: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        let micros = now.as_micros();
        lines.push_back(format!("{:4}.{:06} {who:>10} {what} {}", micros / 1_000_000, micros % 1_000_000, text()));
    }

    /// The same for two runs that went the same way.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default().into()
    }
}

/// Takes what the engine logs into the trace.
pub(crate) struct LogToTrace(pub(crate) Arc<Sim>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _infallible = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for LogToTrace {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidemill") && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.log(text.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}
