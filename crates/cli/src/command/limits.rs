//! `tidemill limits`: what an account has used of the limits on its payments, and what they leave.
//!
//! What has been used is read from the state log, what is allowed from the settings and the topic of the limits.

use serde::Serialize;
use tidemill_core::money::decimal;
use tidemill_core::partition::partition_of;
use tidemill_core::{Currency, EventTime};
use tidemill_processors::post_ledger::payment_limits::{
    LIMIT_USAGES, LimitTable, PAYMENT_LIMITS, Standing, Usage, standing,
};
use tidemill_runtime::broker::TopicPartition;
use tidemill_runtime::inspection::read_store;
use tidemill_topology::plan::{ReferencePlan, Unit};

use crate::args::{Global, LimitsArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::reference::reference_table;
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, args: &LimitsArgs) -> Result<Exit, Failure> {
    let at = match &args.at {
        None => EventTime(jiff::Timestamp::now().as_microsecond()),
        Some(at) => EventTime::parse(at).ok_or_else(|| Failure::new(Exit::Usage, "--at is no RFC 3339 time"))?,
    };
    let session = Session::open(global, Access::Read)?;
    let (unit, plan) = configured(&session)?;
    let table = reference_table(&session, plan)?;
    let Some(table) = table.as_any().downcast_ref::<LimitTable>() else {
        return Err(Failure::new(Exit::Findings, "the reference table payment_limits is another one"));
    };
    let usages = usages(&session, unit, &args.account)?;
    let shown: Vec<Shown> = usages.into_iter().filter_map(|usage| standing(usage, table, at)).map(Shown::of).collect();
    if global.json {
        output::json(&shown)?;
    } else {
        let rows: Vec<Vec<String>> = shown.into_iter().map(Shown::cells).collect();
        output::table(&["limit", "window", "of", "used", "left", "payments", "left", "until"], &rows)?;
    }
    Ok(Exit::Ok)
}

/// The first unit with a ledger, and the table that its ledger reads.
fn configured(session: &Session) -> Result<(&Unit, &ReferencePlan), Failure> {
    let units = session.topology.units.iter();
    let plans =
        units.flat_map(|unit| unit.stages.iter().flat_map(|stage| &stage.references).map(move |plan| (unit, plan)));
    let found = plans.into_iter().find(|(_, plan)| plan.spec.name == PAYMENT_LIMITS);
    found.ok_or_else(|| Failure::new(Exit::Config, "no stage of the topology has a ledger"))
}

fn usages(session: &Session, unit: &Unit, account: &str) -> Result<Vec<Usage>, Failure> {
    let topic = unit.state_topic(&session.topology.pipeline);
    let task = partition_of(account.as_bytes(), unit.tasks);
    let log = TopicPartition::new(topic.as_str(), task);
    let prefix = Usage::prefix(account);
    let view = read_store(session.broker.as_ref(), &log, LIMIT_USAGES.name(), None, |key| key.starts_with(&prefix))?;
    let usages = view.pairs.values().map(|value| LIMIT_USAGES.decode(value));
    usages.collect::<Result<_, _>>().map_err(|error| Failure::new(Exit::Findings, error.to_string()))
}

#[derive(Serialize)]
struct Shown {
    /// `name@version`
    limit: String,
    window: String,
    /// What is counted by within the account; empty where all of it is counted together. A card is masked.
    of: String,
    currency: String,
    used: String,
    left: Option<String>,
    payments: i64,
    payments_left: Option<i64>,
    /// When more will be left; absent: never by itself.
    until: Option<String>,
}

impl Shown {
    fn of(standing: Standing) -> Self {
        let exponent = Currency::parse(&standing.currency).map_or(0, Currency::exponent);
        Self {
            limit: format!("{}@{}", standing.limit, standing.version),
            window: standing.window,
            of: standing.subject,
            used: decimal(standing.used_minor, exponent),
            left: standing.left_minor.map(|minor| decimal(minor, exponent)),
            currency: standing.currency,
            payments: standing.payments,
            payments_left: standing.payments_left,
            until: standing.leaves_more_at.map(|at| at.to_string()),
        }
    }

    fn cells(self) -> Vec<String> {
        let Self { limit, window, of, currency, used, left, payments, payments_left, until } = self;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let money = |amount: String| format!("{amount} {currency}");
        let of = if of.is_empty() { "account".to_owned() } else { of };
        let payments_left = or_dash(payments_left.map(|count| count.to_string()));
        let [left, until] = [or_dash(left.map(money)), or_dash(until)];
        vec![limit, window, of, format!("{used} {currency}"), left, payments.to_string(), payments_left, until]
    }
}
