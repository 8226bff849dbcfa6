//! Of several rules that a payment breaks, the first in the order of `PaymentCode` is answered, for every type of
//! payment and every pair of its codes; and no type answers with a code that is not among its own.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{AccountKind, Exchange, PaymentLimit, PaymentType, Remainder, StatusCode};

use super::super::codes::{AccountCode, PaymentCode};
use super::super::holds::HoldState;
use super::super::outcomes::{Aftermath, PAYMENT_OUTCOMES};
use super::super::payment_limits::PAYMENT_LIMITS;
use super::super::receipts::{self, RECEIPTS};
use super::world::{Audits, Pay, World};

/// A world in which one payment is made that breaks exactly the rules it is asked to break.
struct Scene {
    world: World,
    pay: Pay,
}

const SECOND: i64 = 1_000_000;

/// The codes of limits on payments follow each other.
const OF_LIMITS: RangeInclusive<PaymentCode> =
    PaymentCode::MerchantNotAllowed..=PaymentCode::LifetimeCountLimitExceeded;

impl Scene {
    /// Nothing is broken: the payment of this type would be posted.
    fn new(payment_type: PaymentType) -> Self {
        let mut world =
            World::of_tasks(1, "holds_per_account_max = 3\nscheduled_per_account_max = 3", Audits::OnDemand);
        for (account, kind) in [("a", AccountKind::External), ("b", AccountKind::External)] {
            world.request(account, open("EUR", kind, 100_000));
        }
        let mut pay = Pay::new(payment_type, "x", "a", "b", 1_000);
        pay.reference = reference(payment_type).map(str::to_owned);
        match payment_type {
            PaymentType::Increment | PaymentType::Capture | PaymentType::Void | PaymentType::ForcePost => {
                let hold =
                    Pay { lasts_micros: Some(60 * SECOND), ..Pay::new(PaymentType::Authorise, "h", "a", "b", 1_000) };
                assert_eq!(world.pay(&hold), "posted");
                pay.amount_minor = if payment_type == PaymentType::Increment { 1_500 } else { 1_000 };
            }
            PaymentType::Refund | PaymentType::Reverse | PaymentType::Chargeback => {
                assert_eq!(world.pay(&Pay::new(PaymentType::Transfer, "h", "b", "a", 1_000)), "posted");
                world.deliver_all();
            }
            PaymentType::ChargebackReversal => {
                assert_eq!(world.pay(&Pay::new(PaymentType::Transfer, "p", "a", "b", 1_000)), "posted");
                world.deliver_all();
                let chargeback =
                    Pay { reference: Some("p".to_owned()), ..Pay::new(PaymentType::Chargeback, "h", "b", "a", 1_000) };
                assert_eq!(world.pay(&chargeback), "posted");
                world.deliver_all();
            }
            PaymentType::Journal => pay.credits = [("b".to_owned(), 600), ("c".to_owned(), 400)].into(),
            PaymentType::Cancel => {
                let waits =
                    Pay { waits_micros: Some(60 * SECOND), ..Pay::new(PaymentType::Transfer, "h", "a", "b", 1_000) };
                assert_eq!(world.pay(&waits), "posted");
            }
            PaymentType::FxExchange => {
                pay.exchange = Some(Exchange {
                    quote: "q-1".to_owned(),
                    sold_minor: 1_000,
                    sold_currency: "EUR".to_owned(),
                    bought_minor: 1_080,
                    bought_currency: "USD".to_owned(),
                    spread_minor: 5,
                });
            }
            _ => {}
        }
        Self { world, pay }
    }

    /// Breaks the rule of `code`; `false` where it cannot be broken beside those that are broken already.
    fn break_rule(&mut self, code: PaymentCode) -> bool {
        let is_waiting = self.pay.payment_type == PaymentType::Cancel;
        let is_hold = matches!(
            self.pay.payment_type,
            PaymentType::Increment | PaymentType::Capture | PaymentType::Void | PaymentType::ForcePost
        );
        match code {
            PaymentCode::IdempotencyConflict => {
                let first = Pay { amount_minor: self.pay.amount_minor + 7, ..self.pay.clone() };
                let first = Pay { payment_type: PaymentType::Transfer, reference: None, lasts_micros: None, ..first };
                let first = Pay { exchange: None, credits: Default::default(), ..first };
                self.world.pay(&first);
            }
            PaymentCode::DebitAccountNotFound => self.pay.from = "nobody".to_owned(),
            PaymentCode::CurrencyMismatch => self.pay.currency = "JPY".to_owned(),
            PaymentCode::SettlementAccountRequired => self.change(|account| account.kind = AccountKind::Customer),
            PaymentCode::ReferenceNotFound => self.pay.reference = Some("nothing".to_owned()),
            PaymentCode::ReferenceNotOpen if is_waiting => {
                self.change_hold(|outcome| outcome.status = StatusCode::ACSC)
            }
            PaymentCode::ReferenceNotOpen if is_hold => self.change_hold_type(),
            PaymentCode::ReferenceNotOpen => self.change_receipt(|receipt| receipt.payment_type = PaymentType::Refund),
            PaymentCode::ReferenceMismatch if is_hold => self.pay.to = "c".to_owned(),
            PaymentCode::ReferenceMismatch => self.pay.amount_minor = 1_001,
            PaymentCode::IncrementNotHigher => self.pay.amount_minor = 1_000,
            PaymentCode::CaptureExceedsHold => self.pay.amount_minor = 2_000,
            PaymentCode::RefundExceedsCaptured => self.change_receipt(|receipt| receipt.given_back_minor = 1),
            PaymentCode::AlreadyCaptured => self.end_hold(HoldState::Captured),
            PaymentCode::AlreadyVoided => self.end_hold(HoldState::Voided),
            PaymentCode::AlreadyReversed => self.change_receipt(|receipt| receipt.reversed = true),
            PaymentCode::HoldExpired if is_hold => self.end_hold(HoldState::Expired),
            PaymentCode::HoldExpired => {
                self.pay.lasts_micros = Some(1);
                let later = self.world.now.0 + 1;
                self.change(|account| account.last_event_time.0 = later);
            }
            PaymentCode::DebitAccountClosed => self.change(|account| account.closed = true),
            PaymentCode::DebitAccountFrozen => self.change(|account| account.debits_frozen = true),
            PaymentCode::AlreadyExecuted => self.change_hold(|outcome| outcome.aftermath = Aftermath::Executed),
            PaymentCode::AlreadyCancelled => self.change_hold(|outcome| outcome.aftermath = Aftermath::Cancelled),
            PaymentCode::LimitExceeded if self.pay.payment_type.can_be_scheduled() => {
                self.pay.waits_micros = Some(60 * SECOND);
                self.change(|account| account.waiting = 3);
            }
            PaymentCode::LimitExceeded => self.change(|account| account.open_holds = 3),
            PaymentCode::AmountOverflow => self.change(|account| {
                account.posted_minor = i64::MIN;
                account.pending_minor = i64::MAX;
            }),
            PaymentCode::InsufficientFunds => {
                self.change(|account| account.limit_minor = -account.posted_minor + account.pending_minor);
                if self.pay.payment_type == PaymentType::Capture {
                    return false;
                }
            }
            code if OF_LIMITS.contains(&code) => self.publish(limit(code, self.pay.payment_type)),
            // Only the credit account's owner can answer with what is left.
            _ => return false,
        }
        true
    }

    fn publish(&mut self, limit: PaymentLimit) {
        let table = self.world.task_of("a").reference(PAYMENT_LIMITS);
        let key = limit.name.clone();
        table.apply(key.as_bytes(), Some(Box::new(limit))).expect("is usable");
    }

    fn change(&mut self, change: impl FnOnce(&mut super::super::accounts::Account)) {
        let state = &mut self.world.task_of("a").state;
        let mut account = state.read(super::super::accounts::ACCOUNTS, b"a").expect("was opened");
        change(&mut account);
        super::super::accounts::ACCOUNTS.put(state, b"a", &account).expect("can be written");
    }

    fn change_hold(&mut self, change: impl FnOnce(&mut super::super::outcomes::PaymentOutcome)) {
        let key = tidemill_schemas::payment::identity("bank", "a", "h");
        let state = &mut self.world.task_of("a").state;
        let mut outcome = state.read(PAYMENT_OUTCOMES, &key).expect("was authorised");
        change(&mut outcome);
        PAYMENT_OUTCOMES.put(state, &key, &outcome).expect("can be written");
    }

    fn change_hold_type(&mut self) {
        self.change_hold(|outcome| outcome.payment_type = PaymentType::Transfer);
    }

    fn end_hold(&mut self, state: HoldState) {
        self.change_hold(|outcome| outcome.hold.as_mut().expect("a hold").state = state);
    }

    fn change_receipt(&mut self, change: impl FnOnce(&mut receipts::Receipt)) {
        let key = receipts::key("a", "bank", "b", "h");
        let state = &mut self.world.task_of("a").state;
        let mut receipt = state.read(RECEIPTS, &key).expect("was received");
        change(&mut receipt);
        RECEIPTS.put(state, &key, &receipt).expect("can be written");
    }

    fn answer(&mut self) -> &'static str {
        let pay = self.pay.clone();
        let priced = self.world.priced(&pay);
        self.world.task_of("a").send_event(priced).code()
    }
}

/// A limit that no payment of this type keeps.
fn limit(code: PaymentCode, payment_type: PaymentType) -> PaymentLimit {
    let code = code.spec().code;
    let payment_type = if payment_type == PaymentType::Increment { PaymentType::Authorise } else { payment_type };
    let only = |what: &str| if code == format!("{what}_not_allowed") { vec!["only".to_owned()] } else { Vec::new() };
    let window = code.split_once('_').map_or("", |(window, _)| window);
    let window = match window {
        "merchant" => "",
        "amount" => "payment",
        window => window,
    };
    let is_calendar = ["day", "week", "month"].contains(&window);
    PaymentLimit {
        name: code.to_owned(),
        version: "1".to_owned(),
        currency: "EUR".to_owned(),
        payment_types: vec![payment_type.name().to_owned()],
        allowed_merchants: only("merchant"),
        allowed_categories: only("merchant_category"),
        allowed_countries: only("merchant_country"),
        window: window.to_owned(),
        zone: if is_calendar { "UTC" } else { "" }.to_owned(),
        week_starts_on: if window == "week" { "monday" } else { "" }.to_owned(),
        window_minutes: (window == "rolling").then_some(60),
        amount_minor_max: code.ends_with("amount_limit_exceeded").then_some(0),
        payments_max: code.ends_with("count_limit_exceeded").then_some(0),
        ..PaymentLimit::default()
    }
}

fn reference(payment_type: PaymentType) -> Option<&'static str> {
    match payment_type {
        PaymentType::Transfer | PaymentType::Deposit | PaymentType::Withdrawal => None,
        PaymentType::Authorise | PaymentType::FxExchange | PaymentType::Journal => None,
        _ => Some("h"),
    }
}

fn open(currency: &str, kind: AccountKind, limit_minor: i64) -> AccountAction {
    AccountAction::Open { customer: None, parent: None, currency: currency.to_owned(), kind, limit_minor }
}

/// Rules of which a hold or an account can break only one at a time, or that hide what the other looks at.
fn exclude_each_other(payment_type: PaymentType, earlier: PaymentCode, later: PaymentCode) -> bool {
    use PaymentCode as Code;
    let state = [Code::AlreadyCaptured, Code::AlreadyVoided, Code::HoldExpired];
    // A payment that waits is judged by limits when its time has come.
    if later == Code::LimitExceeded && payment_type.can_be_scheduled() {
        return OF_LIMITS.contains(&earlier);
    }
    let waited = [Code::AlreadyExecuted, Code::AlreadyCancelled];
    [state.as_slice(), &waited].iter().any(|states| states.contains(&earlier) && states.contains(&later))
}

#[test]
fn of_two_broken_rules_the_earlier_is_answered() {
    let mut pairs = 0;
    for payment_type in PaymentType::ALL {
        let codes: Vec<PaymentCode> = PaymentCode::of(payment_type).collect();
        assert_eq!(Scene::new(payment_type).answer(), "posted", "{payment_type:?}");
        for (index, earlier) in codes.iter().enumerate() {
            for later in &codes[index..] {
                if earlier != later && exclude_each_other(payment_type, *earlier, *later) {
                    continue;
                }
                let mut scene = Scene::new(payment_type);
                if !(scene.break_rule(*later) && scene.break_rule(*earlier)) {
                    continue;
                }
                assert_eq!(scene.answer(), earlier.spec().code, "{payment_type:?}: {earlier:?} and {later:?}");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 500, "only {pairs} pairs were tried");
}

/// Those of limits stand in a table of their own, for whoever has any.
fn documented(code: PaymentCode) -> String {
    if OF_LIMITS.contains(&code) {
        "[of limits](#payment-limits)".to_owned()
    } else {
        format!("`{}`", code.spec().code)
    }
}

/// The list in the documentation is that of the code: by type, in order of precedence.
#[test]
fn codes_by_type_are_as_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/ledger.md");
    let text = std::fs::read_to_string(&path).expect("the reference is there");
    let mut expected = String::new();
    for payment_type in PaymentType::ALL {
        let mut codes: Vec<String> = PaymentCode::of(payment_type).map(documented).collect();
        codes.dedup();
        expected.push_str(&format!("| `{}` | {} |\n", payment_type.name(), codes.join(", ")));
    }
    assert!(text.contains(&expected), "the table of codes by type should read:\n{expected}");
}

/// The order of the lists is the order of the enums, and no code stands twice.
#[test]
fn the_order_is_one() {
    let in_spec: Vec<&str> = super::SPEC.codes.iter().map(|code| code.code).collect();
    let unique: BTreeSet<&str> = in_spec.iter().copied().collect();
    assert_eq!(unique.len(), in_spec.len());
    for codes in [
        PaymentCode::ALL.iter().map(|code| code.spec().code).collect::<Vec<_>>(),
        AccountCode::ALL.iter().map(|code| code.spec().code).filter(|code| *code != "currency_mismatch").collect(),
    ] {
        let places: Vec<usize> =
            codes.iter().map(|code| in_spec.iter().position(|other| other == code).expect("listed")).collect();
        assert!(places.is_sorted(), "{codes:?}");
    }
}

#[test]
fn of_two_broken_rules_of_a_request_the_earlier_is_answered() {
    let limit = AccountAction::ChangeLimit { limit_minor: 1, currency: "JPY".to_owned() };
    let close = AccountAction::Close(OpenHolds::Refuse);
    let freeze = AccountAction::Freeze(Sides::Both);
    // Account, what is asked, what is answered. `full` has a balance, `gone` is closed.
    let cases = [
        ("fees.0.EUR", open("EUR", AccountKind::Fee, 0), AccountCode::AccountReserved),
        ("full", open("EUR", AccountKind::Fee, 0), AccountCode::AccountReserved),
        ("full", open("EUR", AccountKind::Customer, 0), AccountCode::AccountAlreadyOpen),
        ("gone", open("EUR", AccountKind::Customer, 0), AccountCode::AccountAlreadyOpen),
        ("nobody", limit.clone(), AccountCode::AccountNotFound),
        ("gone", limit.clone(), AccountCode::AccountClosed),
        ("gone", close.clone(), AccountCode::AccountClosed),
        ("gone", freeze, AccountCode::AccountClosed),
        ("full", limit, AccountCode::CurrencyMismatch),
        ("full", close, AccountCode::AccountNotEmpty),
    ];
    for (account, action, code) in cases {
        let mut world = World::new("");
        world.request("full", open("EUR", AccountKind::Customer, 500));
        world.request("gone", open("EUR", AccountKind::Customer, 0));
        world.request("gone", AccountAction::Close(OpenHolds::Refuse));
        world.pay(&Pay { remainder: Remainder::Release, ..Pay::new(PaymentType::Transfer, "p", "full", "gone", 1) });
        assert_eq!(world.request(account, action.clone()), code.spec().code, "{account} {action:?}");
    }
}
