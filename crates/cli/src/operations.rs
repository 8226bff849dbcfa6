//! What the commands that change something have in common: who acts, why, and in which words that fails.

use tidemill_core::EventTime;
use tidemill_runtime::operator::{Operator, OperatorError};
use tidemill_runtime::replay::run::{Guard, ReplayError};
use tidemill_runtime::replay::{Filter, PlanError};
use tidemill_runtime::worker::WorkerError;

use crate::args::DlqFilter;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// `TIDEMILL_ACTOR`, or the user and the machine.
pub(crate) fn actor() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    variable("TIDEMILL_ACTOR").unwrap_or_else(|| {
        let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{user}@{host}")
    })
}

impl Session {
    /// Whoever acts for the live pipeline. Refused during a cutover: what is sent to a pipeline that has been stopped is
    /// processed by nobody.
    pub(crate) fn operator(&self) -> Result<Operator, Failure> {
        self.check_no_cutover()?;
        self.operator_of_reprocess()
    }

    pub(crate) fn operator_of_reprocess(&self) -> Result<Operator, Failure> {
        let (topology, broker, clock) = (self.topology.clone(), self.broker.clone(), self.clock.clone());
        Ok(Operator::new(topology, broker, clock, self.succession()?, actor()))
    }
}

/// A reason that says something.
pub(crate) fn check_reason(reason: &str) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "the reason is empty").hint("Say why, for those who read it later."));
    }
    Ok(())
}

pub(crate) fn filter_of(args: &DlqFilter, now_ms: i64) -> Result<Filter, Failure> {
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(text, now_ms)).transpose();
    Ok(Filter {
        code: args.code.clone(),
        stage: args.stage.clone(),
        class: args.class.clone(),
        field: args.field.clone(),
        fingerprint: args.fingerprint.clone(),
        key: args.key.clone(),
        schema_id: args.schema_id.clone(),
        since_ms: moment(&args.since)?,
        until_ms: moment(&args.until)?,
        partition: args.partition,
        from: args.from,
        to: args.to,
        values: args.values.clone(),
    })
}

/// A time, or how long ago.
pub(crate) fn moment(text: &str, now_ms: i64) -> Result<i64, Failure> {
    if let Some(time) = EventTime::parse(text) {
        return Ok(time.millis());
    }
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(ago_ms) if unit_ms > 0 && ago_ms >= 0 => Ok(now_ms.saturating_sub(ago_ms)),
        _ => Err(Failure::new(Exit::Usage, format!("`{text}` is no time"))
            .hint("Such as 30m, 2h, 1d, or 2026-01-31T12:00:00Z.")),
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Broker(error) => error.into(),
            OperatorError::TakenOver => Self::new(Exit::Refused, error)
                .hint("Nothing of this was done. Look what the other has done, and try again."),
            OperatorError::LeftOpen => {
                Self::new(Exit::Refused, error).hint("The log names the partitions; `tidemill txn abort` ends it.")
            }
            OperatorError::Trail(_) => Self::new(Exit::Refused, error),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Operator(error) => error.into(),
            ReplayError::Broker(error) => error.into(),
            ReplayError::Refused(guard) => {
                let hint = match &guard {
                    Guard::OtherConfiguration { .. }
                    | Guard::NewLetters { .. }
                    | Guard::Resolved { .. }
                    | Guard::Gone { .. }
                    | Guard::Cancelled => "Make a new plan with `tidemill dlq plan`.",
                    Guard::Busy { .. } => "Wait for it, or end it with `tidemill replay cancel`.",
                    Guard::OtherProcess => "It goes on there. `tidemill replay status` shows how far it is.",
                    Guard::Failing { .. } => {
                        "Look at what fails with `tidemill dlq stats`; apply the plan again to go on all the same."
                    }
                };
                Self::new(Exit::Refused, guard).hint(hint)
            }
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(Exit::Refused, error)
            .hint("Make a new plan with `tidemill dlq plan`; change one with `tidemill dlq edit`.")
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Broker(error) => error.into(),
            WorkerError::RegistryUnavailable(_) => Self::new(Exit::Unreachable, error),
            other => Self::new(Exit::Findings, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, expected) in [
            ("90s", Some(910_000)),
            ("2m", Some(880_000)),
            ("1970-01-01T00:00:05Z", Some(5_000)),
            ("2w", None),
            ("-1s", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(moment(text, 1_000_000).ok(), expected, "{text}");
        }
    }
}
