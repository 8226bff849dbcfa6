//! `dlq apply` and `dlq discard`.

use std::ops::ControlFlow;

use serde_json::json;
use tidemill_runtime::replay::run::{Pace, Report, apply};
use tidemill_runtime::replay::{self, Filter, Letter};

use super::{plan, visit_letters};
use crate::args::{DlqApplyArgs, DlqFilter, Global};
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::operations::{check_reason, filter_of};
use crate::output::{self, Progress, count};
use crate::session::{Access, Session};
use crate::stop::Stop;

pub(super) fn run(global: &Global, args: &DlqApplyArgs) -> Result<Exit, Failure> {
    check_reason(&args.reason)?;
    let session = Session::open(global, Access::Write)?;
    let plan = plan::read(&args.plan)?;
    let number = plan.items.iter().filter(|item| plan.is_to_be_sent(item)).count() as u64;
    if !args.yes {
        confirm(&format!("Send {} dead letters of {} back?", count(number), plan.topic))?;
    }
    let stop = Stop::on_signals()?;
    let pace =
        Pace { rate: args.rate, failed_percent_max: args.failed_percent_max, lag_records_max: args.lag_records_max };
    let mut progress = Progress::new("replayed", number);
    let mut operator = session.operator()?;
    let report = apply(&mut operator, &plan, &pace, &args.reason, |done, total| {
        progress.set_of(done, total);
        if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    let Report { replayed, replayed_before, left, was_stopped } = report?;
    if global.json {
        output::json(&json!({
            "event": "result", "topic": plan.topic, "plan": plan.hash, "replayed": replayed,
            "replayed_before": replayed_before, "left": left, "stopped": was_stopped,
        }))?;
    } else {
        let [replayed, before, left] = [replayed, replayed_before, left].map(count);
        output::line(&format!("{replayed} sent back, {before} had been before, {left} left where they are"))?;
    }
    Ok(if was_stopped { Exit::Interrupted } else { Exit::Ok })
}

/// Letters that are neither replayed nor discarded.
pub(in crate::command) fn open_letters(
    session: &Session,
    topic: &str,
    filter: &Filter,
) -> Result<Vec<Letter>, Failure> {
    let mut letters: Vec<Letter> = Vec::new();
    visit_letters(session, Some(topic), filter, |letter, resolution| {
        if resolution.is_none() {
            letters.push(letter);
        }
        Ok(())
    })?;
    Ok(letters)
}

pub(super) fn discard(
    global: &Global,
    topic: &str,
    filter: &DlqFilter,
    reason: &str,
    yes: bool,
) -> Result<Exit, Failure> {
    check_reason(reason)?;
    let session = Session::open(global, Access::Write)?;
    let filter = filter_of(filter, session.clock.unix_ms())?;
    let letters = open_letters(&session, topic, &filter)?;
    if !letters.is_empty() && !yes {
        confirm(&format!("Give {} dead letters of {topic} up?", count(letters.len() as u64)))?;
    }
    let discarded = replay::discard(&mut session.operator()?, &letters, reason)?;
    if global.json {
        output::json(&json!({"event": "result", "topic": topic, "discarded": discarded}))?;
    } else {
        output::line(&format!("{} discarded", count(discarded)))?;
    }
    Ok(Exit::Ok)
}
