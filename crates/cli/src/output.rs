//! Tables for people, JSON for programs, and a progress bar where somebody watches.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

/// How often a progress line is printed where there is no terminal.
const PROGRESS_LINE_INTERVAL: Duration = Duration::from_secs(5);

/// One JSON document on one line.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(crate::exit::Exit::Findings, format!("JSON: {error}")))?;
    line(&text)
}

/// One line on standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Columns as wide as their widest cell; numbers to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|cell| cell.to_uppercase()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn pad(cell: &str, width: usize) -> String {
    let is_number = cell.starts_with(|first: char| first.is_ascii_digit())
        && cell.ends_with(|last: char| last.is_ascii_digit() || last == '%');
    if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

/// Thousands separated: `1,754,155`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A bar on a terminal; a JSON line every few seconds elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    label: &'static str,
    total: u64,
    started_at: Instant,
    printed_at: Instant,
}

impl Progress {
    pub(crate) fn new(label: &'static str, total: u64) -> Self {
        let is_watched = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let bar = is_watched.then(|| {
            let bar = ProgressBar::new(total);
            let style =
                ProgressStyle::with_template("{msg:>12} {bar:40} {human_pos}/{human_len} {per_sec:>16} eta {eta}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_message(label);
            bar
        });
        let now = Instant::now();
        Self { bar, label, total, started_at: now, printed_at: now }
    }

    /// What there is to do may grow on the way.
    pub(crate) fn set_of(&mut self, done: u64, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
        self.set(done);
    }

    pub(crate) fn set(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        if self.printed_at.elapsed() < PROGRESS_LINE_INTERVAL {
            return;
        }
        self.printed_at = Instant::now();
        let elapsed_ms = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1_000) / elapsed_ms;
        let eta_s = (rate > 0).then(|| self.total.saturating_sub(done) / rate);
        let line = serde_json::json!({"event": "progress", "what": self.label, "done": done, "total": self.total, "rate": rate, "eta_s": eta_s});
        eprintln!("{line}");
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
