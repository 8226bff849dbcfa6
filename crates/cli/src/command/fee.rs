//! `tidemill fee preview`: what a payment would cost, priced by the configured processor itself.
//!
//! The schedules are those of the settings with what their topic holds laid over them, as a worker has them. What the
//! account has used of a free allowance is not known here: the payment is priced as the first of its period.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::context::{Schemas, UnknownSchema};
use tidemill_core::money::decimal;
use tidemill_core::reference::References;
use tidemill_core::{
    Amount, AnyEvent, Currency, Effects, EventDecoder, EventTime, Headers, Origin, RecordView, ReferenceTable,
};
use tidemill_processors::charge_fee;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::store::StoreFactory;
use tidemill_runtime::store::memory::MemoryStores;
use tidemill_runtime::store::write_behind::{Background, WriteBehind};
use tidemill_runtime::task::state::TaskState;
use tidemill_runtime::threads::SystemThreads;
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountCommand, FeeCharge, PaymentBody, PaymentType, PricedPayment, Remainder, ScoredPayment};
use tidemill_topology::plan::{Link, ReferencePlan};

use crate::args::{FeeCommand, Global, PreviewArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::reference::reference_table;
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, command: &FeeCommand) -> Result<Exit, Failure> {
    match command {
        FeeCommand::Preview(args) => preview(global, args),
    }
}

#[derive(Serialize)]
struct Preview {
    amount: String,
    fee: String,
    /// What the payer gives.
    total: String,
    /// What the other account gets.
    arrives: String,
    currency: String,
    /// `name@version`; empty for types that cost nothing.
    schedule: String,
    /// `on_top` or `deducted`.
    charged: &'static str,
    /// What becomes of the fee when the payment is refunded: `kept`, `returned` or `pro_rata`.
    refunds: &'static str,
}

fn preview(global: &Global, args: &PreviewArgs) -> Result<Exit, Failure> {
    let payment = payment(args)?;
    let session = Session::open(global, Access::Read)?;
    let (link, reference) = configured(&session)?;
    let table = reference_table(&session, reference)?;
    let priced = price(link, reference.spec.name, table.as_ref(), payment.clone(), args.segment.clone())?;
    let exponent = Currency::parse(&payment.currency).map_or(0, Currency::exponent);
    let money = |minor: i128| decimal(minor, exponent);
    let (sent_minor, fee_minor) = (i128::from(priced.sent_minor()), i128::from(priced.fee_minor));
    let preview = Preview {
        amount: money(i128::from(payment.amount_minor)),
        fee: money(fee_minor),
        total: money(sent_minor + fee_minor),
        arrives: money(sent_minor),
        charged: priced.fee_terms.charge.name(),
        refunds: priced.fee_terms.refund.name(),
        currency: payment.currency,
        schedule: priced.fee_schedule,
    };
    if global.json {
        output::json(&preview)?;
    } else {
        let Preview { amount, fee, total, arrives, currency, schedule, .. } = preview;
        let by = if schedule.is_empty() { "nothing is charged for this type".to_owned() } else { schedule };
        output::line(&match priced.fee_terms.charge {
            FeeCharge::OnTop => format!("{amount} {currency} + fee {fee} {currency} = {total} {currency}  ({by})"),
            FeeCharge::Deducted => {
                format!(
                    "{amount} {currency}, of which the fee is {fee} {currency}: {arrives} {currency} arrive  ({by})"
                )
            }
        })?;
    }
    Ok(Exit::Ok)
}

fn payment(args: &PreviewArgs) -> Result<PaymentBody, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let currency = Currency::parse(&args.currency);
    let currency = currency.ok_or_else(|| usage(format!("{} is no currency with a minor unit", args.currency)))?;
    let amount = Amount::parse(&args.amount, currency).map_err(|error| usage(format!("--amount: {error}")))?;
    let amount_minor = i64::try_from(amount.minor).map_err(|_| usage("--amount is too large".to_owned()))?;
    let payment_type = PaymentType::parse(&args.payment_type);
    let payment_type = payment_type.ok_or_else(|| usage(format!("{} is no type of payment", args.payment_type)))?;
    let created_at = match &args.at {
        None => EventTime(jiff::Timestamp::now().as_microsecond()),
        Some(at) => EventTime::parse(at).ok_or_else(|| usage("--at is no RFC 3339 time".to_owned()))?,
    };
    Ok(PaymentBody {
        payment_id: "preview".to_owned(),
        source: String::new(),
        payment_type,
        debit_account: args.account.clone().unwrap_or_default(),
        credit_account: String::new(),
        amount_minor,
        currency: args.currency.clone(),
        created_at,
        channel: args.channel.clone().unwrap_or_default(),
        merchant: None,
        customer: args.customer.clone(),
        description: None,
        metadata: Default::default(),
        body_hash: String::new(),
        reference: None,
        expires_at: None,
        remainder: Remainder::Release,
        reason: None,
        quote: None,
        card: None,
        execute_at: None,
        retry_until: None,
        debits: Default::default(),
        credits: Default::default(),
    })
}

/// The first `charge_fee` of the topology, and the table it reads.
fn configured(session: &Session) -> Result<(&Link, &ReferencePlan), Failure> {
    let stages = session.topology.units.iter().flat_map(|unit| &unit.stages);
    let found = stages.flat_map(|stage| {
        let links = stage.inputs.iter().flat_map(|input| &input.chain);
        let own = links.filter(|link| link.processor.name == charge_fee::SPEC.name);
        own.filter_map(|link| {
            let is_own =
                |plan: &&ReferencePlan| link.processor.references.iter().any(|spec| spec.name == plan.spec.name);
            Some((link, stage.references.iter().find(is_own)?))
        })
    });
    found.into_iter().next().ok_or_else(|| Failure::new(Exit::Config, "no chain of the topology charges fees"))
}

/// Runs the processor on a state of its own, which is thrown away.
fn price(
    link: &Link,
    table_name: &'static str,
    table: &dyn ReferenceTable,
    payment: PaymentBody,
    segment: Option<String>,
) -> Result<PricedPayment, Failure> {
    let broken = |message: String| Failure::new(Exit::Findings, message);
    let processor = (link.processor.build)(&link.settings).map_err(|errors| broken(format!("settings: {errors:?}")))?;
    let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
    let store =
        MemoryStores::default().open(Path::new("preview"), "preview").map_err(|error| broken(error.to_string()))?;
    let mut state = TaskState::new(WriteBehind::new(store, usize::MAX, background));
    let record = RecordView {
        origin: Origin { topic: "preview", partition: 0, offset: 0 },
        event_time: payment.created_at,
        key: None,
        value: None,
        headers: Headers::new(&[]),
    };
    let references = OneTable { name: table_name, table };
    let around = Surroundings { task: 0, references: &references, schemas: &NoSchemas };
    let processors = [processor];
    let mut run = |event: AnyEvent| {
        let ended = chain::run(&processors, event, record, &mut state, &mut Effects::default(), around);
        ended.map_err(|error| broken(error.to_string()))
    };
    // The account that pays is put where it is to be.
    run(Box::new(AccountCommand {
        request_id: "preview".to_owned(),
        source: String::new(),
        account: payment.debit_account.clone(),
        created_at: payment.created_at,
        action: AccountAction::ChangeSegment { segment },
    }))?;
    let ended = run(Box::new(ScoredPayment { payment, decision: None }))?;
    match ended {
        Ended::Passed(event) => {
            event.downcast::<PricedPayment>().map_err(|event| broken(format!("priced as {event:?}")))
        }
        Ended::Answered(reject) | Ended::Unanswered(reject) => {
            Err(broken(format!("{}: {}", reject.code().code, reject.message())).hint(reject.code().remedy))
        }
        Ended::Done(outcome) => Err(broken(format!("the payment would end here as {outcome:?}"))),
    }
}

struct OneTable<'a> {
    name: &'static str,
    table: &'a dyn ReferenceTable,
}

impl References for OneTable<'_> {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable> {
        (name == self.name).then_some(self.table)
    }
}

/// Nothing is decoded on the way.
struct NoSchemas;

impl Schemas for NoSchemas {
    fn decoder(&self, _schema_id: u32) -> Result<&dyn EventDecoder, UnknownSchema> {
        Err(UnknownSchema::NotRegistered)
    }
}
