//! The payments of the measurement: the same ones for every run.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::{AnyEvent, EventTime};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountCommand, AccountKind, FeeTerms, PaymentBody, PaymentType, PricedPayment, Remainder};

use super::{LedgerOptions, Payees, Payers};

const SEED: u64 = 20_260_105;
const CURRENCY: &str = "EUR";
const SOURCE: &str = "bank-a";
/// 2026-01-05T08:00:00Z.
const START: EventTime = EventTime(1_767_600_000_000_000);
/// Payments follow each other by this much event time.
const STEP_MICROS: i64 = 1_000;

pub(super) struct Load {
    random: ChaCha8Rng,
    accounts: u32,
    payers: Payers,
    payees: Payees,
    made: u64,
}

impl Load {
    pub(super) fn new(options: &LedgerOptions) -> Self {
        let LedgerOptions { accounts, payers, payees, .. } = *options;
        Self { random: ChaCha8Rng::seed_from_u64(SEED), accounts: accounts.max(3), payers, payees, made: 0 }
    }

    /// Requests that open all accounts, each with enough of a limit that no payment is refused.
    pub(super) fn accounts(&self) -> impl Iterator<Item = AnyEvent> + use<> {
        (0..self.accounts).map(|number| {
            let request: AnyEvent = Box::new(AccountCommand {
                request_id: format!("r-{number}"),
                source: SOURCE.to_owned(),
                account: account(number),
                created_at: START,
                action: AccountAction::Open {
                    customer: Some(format!("cust-{number:06}")),
                    parent: None,
                    currency: CURRENCY.to_owned(),
                    kind: AccountKind::Customer,
                    limit_minor: 1_000_000_000_000,
                },
            });
            request
        })
    }

    pub(super) fn payments(&mut self, count: u32) -> Vec<AnyEvent> {
        (0..count).map(|_| self.payment()).collect()
    }

    fn payment(&mut self) -> AnyEvent {
        let payer = match self.payers {
            Payers::One => 1,
            Payers::Uniform => self.random.random_range(1..self.accounts),
        };
        let payee = match self.payees {
            Payees::One => 0,
            // Any account but the payer.
            Payees::Uniform => (payer + self.random.random_range(1..self.accounts)) % self.accounts,
        };
        let number = self.made;
        self.made += 1;
        Box::new(PricedPayment {
            payment: PaymentBody {
                payment_id: format!("p-{number:010}"),
                source: SOURCE.to_owned(),
                payment_type: PaymentType::Transfer,
                debit_account: account(payer),
                credit_account: account(payee),
                amount_minor: self.random.random_range(1..100_000),
                currency: CURRENCY.to_owned(),
                created_at: EventTime(START.0 + i64::try_from(number).unwrap_or(i64::MAX) * STEP_MICROS),
                channel: "web".to_owned(),
                merchant: None,
                customer: None,
                description: None,
                metadata: Default::default(),
                body_hash: format!("{:032x}", self.random.random::<u128>()),
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
            },
            fee_minor: 0,
            fee_terms: FeeTerms::default(),
            fee_schedule: String::new(),
            exchange: None,
            dates: None,
        })
    }
}

fn account(number: u32) -> String {
    format!("acc-{number:08}")
}
