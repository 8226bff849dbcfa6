//! The times of a payment: when it was made, and when something about it is to happen.

use tidemill_core::EventTime;
use tidemill_schemas::PaymentRequest;

use super::text;
use crate::fields::{self, Fault, TIME_MALFORMED, TIME_OUT_OF_RANGE};

/// How long a hold may last and a payment may wait: 400 days.
const AHEAD_MICROS_MAX: i64 = 400 * 24 * 60 * 60 * 1_000_000;

#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) created_at: EventTime,
    pub(super) expires_at: Option<EventTime>,
    pub(super) execute_at: Option<EventTime>,
    pub(super) retry_until: Option<EventTime>,
}

/// Checks `time_malformed` on every time before `time_out_of_range` on any.
pub(super) fn check(request: &PaymentRequest, latest: EventTime) -> Result<Times, Fault> {
    let ahead = [
        ("/expires_at", request.expires_at.as_deref()),
        ("/execute_at", request.execute_at.as_deref()),
        ("/retry_until", request.retry_until.as_deref()),
    ];
    let created_at = created_at(request, latest);
    if created_at.is_err_and(|Fault(code, _)| code.code == TIME_MALFORMED.code) {
        return Err(Fault(&TIME_MALFORMED, "/created_at"));
    }
    let is_malformed = |(_, text): &&(&str, Option<&str>)| text.is_some_and(|text| EventTime::parse(text).is_none());
    if let Some((pointer, _)) = ahead.iter().find(is_malformed) {
        return Err(Fault(&TIME_MALFORMED, pointer));
    }
    let created_at = created_at?;
    let [expires_at, execute_at, retry_until] = ahead.map(|(pointer, text)| {
        let Some(text) = text else { return Ok(None) };
        let time = fields::time(text, pointer)?;
        let is_in_range = created_at < time && time.micros() - created_at.micros() <= AHEAD_MICROS_MAX;
        if is_in_range { Ok(Some(time)) } else { Err(Fault(&TIME_OUT_OF_RANGE, pointer)) }
    });
    let times = Times { created_at, expires_at: expires_at?, execute_at: execute_at?, retry_until: retry_until? };
    // A last attempt before the first is none.
    if times.retry_until.zip(times.execute_at).is_some_and(|(until, first)| until < first) {
        return Err(Fault(&TIME_OUT_OF_RANGE, "/retry_until"));
    }
    Ok(times)
}

pub(super) fn created_at(request: &PaymentRequest, latest: EventTime) -> Result<EventTime, Fault> {
    let created_at = fields::time(text(&request.created_at), "/created_at")?;
    if created_at > latest { Err(Fault(&TIME_OUT_OF_RANGE, "/created_at")) } else { Ok(created_at) }
}
