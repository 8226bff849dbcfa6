//! Scores a payment by rules, writes the decision down, and declines what reaches the threshold.
//!
//! - Input: `profiled_payment`; passes on `scored_payment`. Key and store: none of its own.
//! - Rules: the rule set in force at the payment's `created_at`, from the reference table `fraud_rules`; the one in the
//!   settings while the table has none. A rule is an expression that is true or false, written in the language below.
//! - Output: port `decisions`, one record for every payment scored, accepted or declined, with all that was known, so
//!   that it can be derived again; port `alerts`, one record for every payment declined. Both are evidence: they stay
//!   whatever becomes of the payment.
//! - The score is the sum of the points of all rules that hit, in no order that matters; points may be negative.
//! - A rule that fails on a payment (overflow, division by zero, a limit) is listed in the decision as `<name>!error`
//!   with 0 points. `on_rule_error` says whether the payment goes on by the other rules or is declined.
//! - Only what a payer asks for is scored: transfers, withdrawals, authorisations and their increments. Everything else
//!   follows from a payment that was, and passes without a decision.
//! - Codes: `fraud_declined`, with the `ScoredPayment` as its subject.
//!
//! # What a rule sees
//! | Name | Value |
//! |---|---|
//! | `amount_minor` | the amount in minor units of `currency` |
//! | `currency`, `channel`, `payment_type`, `counterparty` | text |
//! | `merchant_category`, `merchant_country` | text, `""` without a merchant |
//! | `hour`, `weekday` | of `created_at` in UTC: 0 to 23, and 1 (Monday) to 7 |
//! | `payer` | `payments_1h`, `amount_minor_1h`, the same for `_24h`, `_7d`, `_30d`, `amount_minor_max`, `counterparties_24h`, `known_days`: this payment included |
//! | `counterparty_profile` | `payments_1h`, `payments_24h`, `amount_minor_24h`, `payments_7d`, `risk_ppm`, `known_days`: before this payment |
//!
//! `known_days` counts whole days since the first payment. Operators and functions: see `language.rs`.
//!
//! Example: `payer.known_days < 1 && amount_minor > 100000 && channel in ["web", "app"]`.

mod language;
mod rules;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::reject::BUG;
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, Flow, Meta, PortSpec, Processor, ProcessorSpec, ReferenceSpec, ReferenceTable,
    Reject, Settings,
};
use tidemill_schemas::{Alert, Decision, FraudRules, PaymentBody, ProfiledPayment, Rule, ScoredPayment, Verdict};

use self::rules::{Draft, RuleBook};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "score_fraud",
    summary: "Scores a payment by rules and declines what reaches the threshold.",
    signatures: &[Signature { takes: ProfiledPayment::KIND, gives: Some(ScoredPayment::KIND) }],
    stores: &[],
    ports: &[
        PortSpec { name: DECISIONS, kind: Decision::KIND, summary: "Why each payment was let through or declined." },
        PortSpec { name: ALERTS, kind: Alert::KIND, summary: "Payments that were declined." },
    ],
    references: &[ReferenceSpec {
        name: RULES,
        kind: FraudRules::KIND,
        summary: "Rule sets by the time from which they are in force.",
        build: build_rules,
    }],
    codes: &[FRAUD_DECLINED],
    decodes: None,
    moves_money: MovesMoney::No,
    example: EXAMPLE,
    build,
};

pub static FRAUD_DECLINED: CodeSpec = CodeSpec {
    code: "fraud_declined",
    class: Class::Business,
    summary: "The payment was declined by the fraud rules.",
    remedy: "The decision on `payments.decisions.v1` names the rules that hit. If the payment is genuine, have the \
             rules changed and send it again under a new id.",
};

const DECISIONS: &str = "decisions";
const ALERTS: &str = "alerts";
const RULES: &str = "fraud_rules";

/// One rule alone never declines: a payment has to stand out twice.
const EXAMPLE: &str = r#"
on_rule_error = "skip"
rule_set = "everyday_payments"
version = "1"
threshold = 100

[[rules]]
name = "large_amount"
when = "amount_minor > 200000"
points = 60

[[rules]]
name = "many_payments_in_an_hour"
when = "payer.payments_1h > 10"
points = 60

[[rules]]
name = "large_sum_in_an_hour"
when = "payer.amount_minor_1h > 500000"
points = 60

[[rules]]
name = "large_amount_of_a_new_payer"
when = "payer.known_days < 1 && amount_minor > 100000"
points = 40

[[rules]]
name = "large_amount_at_night"
when = "hour < 5 && amount_minor > 100000"
points = 40

[[rules]]
name = "far_above_the_payers_average"
when = "payer.payments_30d > 10 && amount_minor > 50000 && amount_minor > 10 * (payer.amount_minor_30d / payer.payments_30d)"
points = 50

[[rules]]
name = "many_counterparties_in_a_day"
when = "payer.counterparties_24h > 15"
points = 40

[[rules]]
name = "counterparty_with_fraud"
when = "counterparty_profile.risk_ppm > 50000"
points = 50
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    on_rule_error: OnRuleError,
    /// Name of the rule set that is in force while the table has none.
    rule_set: String,
    version: String,
    /// At this score a payment is declined; at least 1.
    threshold: i64,
    /// At most 200.
    rules: Vec<RuleConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleConfig {
    /// snake_case, unique in the set.
    name: String,
    when: String,
    points: i64,
}

/// What becomes of a payment when a rule fails on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnRuleError {
    /// The other rules decide.
    #[default]
    Skip,
    Decline,
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    rule_book(&config)?;
    Ok(Box::new(ScoreFraud { on_rule_error: config.on_rule_error }))
}

fn build_rules(settings: &Settings) -> Result<Box<dyn ReferenceTable>, Vec<SettingsError>> {
    Ok(Box::new(rule_book(&settings.parse()?)?))
}

fn rule_book(config: &Config) -> Result<RuleBook, Vec<SettingsError>> {
    let rules = config.rules.iter();
    let rules: Vec<Rule> =
        rules.map(|rule| Rule { name: rule.name.clone(), when: rule.when.clone(), points: rule.points }).collect();
    let draft = Draft { name: &config.rule_set, version: &config.version, threshold: config.threshold, rules: &rules };
    RuleBook::new(&draft)
        .map_err(|faults| faults.into_iter().map(|fault| SettingsError::new(fault.key, fault.message)).collect())
}

struct ScoreFraud {
    on_rule_error: OnRuleError,
}

impl Processor for ScoreFraud {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let profiled: ProfiledPayment = event.downcast().map_err(|event| Reject::unexpected(&event))?;
        if !profiled.payment.payment_type.is_screened() {
            return Ok(Flow::Continue(Box::new(ScoredPayment { payment: profiled.payment, decision: None })));
        }
        let Some(book) = context.references.table::<RuleBook>(RULES) else {
            return Err(Reject::new(&BUG).because("the reference table `fraud_rules` is not there"));
        };
        let (payment, decision) = self.decide(book, profiled);
        context.effects.emit_evidence(DECISIONS, Box::new(decision.clone()) as AnyEvent);
        if decision.verdict == Verdict::Accept {
            return Ok(Flow::Continue(Box::new(ScoredPayment { payment, decision: Some(decision) })));
        }
        context.effects.emit_evidence(ALERTS, Box::new(alert(&decision)) as AnyEvent);
        Err(Reject::new(&FRAUD_DECLINED).about(Box::new(ScoredPayment { payment, decision: Some(decision) })))
    }
}

impl ScoreFraud {
    fn decide(&self, book: &RuleBook, profiled: ProfiledPayment) -> (PaymentBody, Decision) {
        let set = book.in_force(profiled.payment.created_at);
        let score = book.score(set, &profiled);
        let is_declined_for_error = score.failed_rules > 0 && self.on_rule_error == OnRuleError::Decline;
        let verdict = match score.points >= set.threshold || is_declined_for_error {
            true => Verdict::Decline,
            false => Verdict::Accept,
        };
        let ProfiledPayment { payment, counterparty, payer } = profiled;
        let decision = Decision {
            meta: Meta::default(),
            payment_id: payment.payment_id.clone(),
            source: payment.source.clone(),
            debit_account: payment.debit_account.clone(),
            verdict,
            score: score.points,
            threshold: set.threshold,
            rules: score.hits,
            rule_set: set.label.clone(),
            payer,
            counterparty,
            event_time: payment.created_at,
        };
        (payment, decision)
    }
}

fn alert(decision: &Decision) -> Alert {
    Alert {
        meta: Meta::default(),
        subject: decision.debit_account.clone(),
        code: FRAUD_DECLINED.code.to_owned(),
        severity: "warning".to_owned(),
        message: format!(
            "declined by rule set {} with score {} at threshold {}",
            decision.rule_set, decision.score, decision.threshold
        ),
        payment_id: Some(decision.payment_id.clone()),
        event_time: decision.event_time,
    }
}
