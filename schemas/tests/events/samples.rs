//! Two events of every kind: one with every field filled, one with every optional field left out.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_core::{AnyEvent, Event, EventCodec, EventTime, Meta};
use tidemill_schemas::{
    AccountBalance, AccountKind, AccountRequest, AccountStatus, AggregatedBalance, Alert, BalanceShare,
    CounterpartyProfile, CustomerPreferences, Date, Decision, EntryKind, Exchange, FeeRefund, FeeSchedule, FeeTier,
    FraudLabel, FraudRules, FreeAllowance, FxQuote, Instruction, InstructionKind, LedgerEntry, Merchant, NodeScope,
    Notification, PayerProfile, Payment, PaymentBody, PaymentLimit, PaymentRequest, PaymentStatus, PaymentType,
    PostingCalendar, Remainder, Rule, RuleHit, ScreenedPayment, StatusCode, StatusPhase, Verdict,
};

pub(crate) struct Sample {
    pub(crate) codec: EventCodec,
    pub(crate) full: AnyEvent,
    pub(crate) sparse: AnyEvent,
    /// `full` as serde sees it.
    pub(crate) json: serde_json::Value,
}

const AT: EventTime = EventTime(1_769_860_800_123_456);

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = payment_samples();
    samples.extend(answer_samples());
    samples.extend(account_samples());
    samples.extend(ledger_samples());
    samples.extend(aggregate_samples());
    samples.extend(notification_samples());
    samples.extend(reference_samples());
    samples
}

fn sample<E: Event + Serialize>(codec: EventCodec, full: E, sparse: E) -> Sample {
    let json = serde_json::to_value(&full).expect("samples serialise");
    Sample { codec, full: Box::new(full), sparse: Box::new(sparse), json }
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn meta() -> Meta {
    Meta {
        record_id: "payments.requested.v1-3@42/0".to_owned(),
        produced_by: "payments@0.1.0+1f2e3d".to_owned(),
        traceparent: text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    }
}

fn bare_meta() -> Meta {
    Meta { traceparent: None, ..meta() }
}

fn merchant() -> Merchant {
    Merchant { id: "m-7".to_owned(), category: "5411".to_owned(), country: "DE".to_owned() }
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("order".to_owned(), "o-1".to_owned())])
}

fn body() -> PaymentBody {
    PaymentBody {
        payment_id: "p-1".to_owned(),
        source: "shop".to_owned(),
        payment_type: PaymentType::Capture,
        debit_account: "alice".to_owned(),
        credit_account: "bob".to_owned(),
        amount_minor: 1_234,
        currency: "EUR".to_owned(),
        created_at: AT,
        channel: "web".to_owned(),
        merchant: Some(merchant()),
        customer: text("c-1"),
        description: text("Zwölf Äpfel 🍏"),
        metadata: metadata(),
        body_hash: "00112233445566778899aabbccddeeff".to_owned(),
        reference: text("p-0"),
        expires_at: Some(AT),
        remainder: Remainder::Keep,
        reason: text("late clearing"),
        quote: text("q-1"),
        card: text("card-1"),
        execute_at: Some(AT),
        retry_until: Some(AT),
        debits: BTreeMap::from([("carol".to_owned(), 100)]),
        credits: BTreeMap::from([("bob".to_owned(), 1_334)]),
    }
}

fn bare_body() -> PaymentBody {
    PaymentBody {
        merchant: None,
        customer: None,
        description: None,
        metadata: BTreeMap::new(),
        reference: None,
        expires_at: None,
        remainder: Remainder::Release,
        reason: None,
        quote: None,
        card: None,
        execute_at: None,
        retry_until: None,
        debits: BTreeMap::new(),
        credits: BTreeMap::new(),
        ..body()
    }
}

fn counterparty() -> CounterpartyProfile {
    CounterpartyProfile {
        payments_1h: 1,
        payments_24h: 2,
        amount_minor_24h: 300,
        payments_7d: 4,
        risk_ppm: 500,
        first_seen_at: Some(AT),
    }
}

fn payer() -> PayerProfile {
    PayerProfile {
        payments_1h: 1,
        amount_minor_1h: 2,
        payments_24h: 3,
        amount_minor_24h: 4,
        payments_7d: 5,
        amount_minor_7d: 6,
        payments_30d: 7,
        amount_minor_30d: 8,
        amount_minor_max: i64::MAX,
        counterparties_24h: 10,
        first_seen_at: Some(AT),
    }
}

fn exchange() -> Exchange {
    Exchange {
        quote: "q-1".to_owned(),
        sold_minor: 10_000,
        sold_currency: "USD".to_owned(),
        bought_minor: 824_213,
        bought_currency: "INR".to_owned(),
        spread_minor: 1,
    }
}

fn payment_samples() -> Vec<Sample> {
    let request = PaymentRequest {
        id: text("p-1"),
        source: text("shop"),
        payment_type: text("transfer"),
        debit_account: text("alice"),
        credit_account: text("bob"),
        amount: text("12.34"),
        currency: text("EUR"),
        created_at: text("2026-01-31T12:00:00.123456Z"),
        channel: text("web"),
        merchant: Some(merchant()),
        customer: text("c-1"),
        description: text("Zwölf Äpfel 🍏"),
        metadata: metadata(),
        reference: text("p-0"),
        expires_at: text("2026-02-07T12:00:00Z"),
        remainder: text("keep"),
        reason: text("late clearing"),
        quote: text("q-1"),
        card: text("card-1"),
        execute_at: text("2026-02-07T12:00:00Z"),
        retry_until: text("2026-02-08T12:00:00Z"),
        debits: BTreeMap::from([("carol".to_owned(), "1.00".to_owned())]),
        credits: BTreeMap::from([("bob".to_owned(), "13.34".to_owned())]),
    };
    let screened = ScreenedPayment { meta: meta(), payment: body(), counterparty: counterparty() };
    let bare_screened =
        ScreenedPayment { meta: bare_meta(), payment: bare_body(), counterparty: CounterpartyProfile::default() };
    vec![
        sample(PaymentRequest::CODEC, request, PaymentRequest::default()),
        sample(
            Payment::CODEC,
            Payment { meta: meta(), payment: body() },
            Payment { meta: bare_meta(), payment: bare_body() },
        ),
        sample(ScreenedPayment::CODEC, screened, bare_screened),
    ]
}

fn answer_samples() -> Vec<Sample> {
    let status = PaymentStatus {
        meta: meta(),
        payment_id: "p-1".to_owned(),
        source: "shop".to_owned(),
        debit_account: "alice".to_owned(),
        credit_account: "bob".to_owned(),
        amount_minor: 1_234,
        currency: "EUR".to_owned(),
        fee_minor: 12,
        status: StatusCode::RJCT,
        phase: StatusPhase::Update,
        code: "insufficient_funds".to_owned(),
        reason: text("the account has too little"),
        merchant_id: text("m-7"),
        customer: text("c-1"),
        channel: "web".to_owned(),
        event_time: AT,
        payment_type: Some(PaymentType::ChargebackReversal),
        reference: text("p-0"),
        exchange: Some(Box::new(exchange())),
    };
    let bare_status = PaymentStatus {
        meta: bare_meta(),
        reason: None,
        merchant_id: None,
        customer: None,
        payment_type: None,
        reference: None,
        exchange: None,
        ..status.clone()
    };
    let decision = Decision {
        meta: meta(),
        payment_id: "p-1".to_owned(),
        source: "shop".to_owned(),
        debit_account: "alice".to_owned(),
        verdict: Verdict::Decline,
        score: 90,
        threshold: 80,
        rules: vec![RuleHit { rule: "velocity".to_owned(), points: 90 }],
        rule_set: "default/3".to_owned(),
        payer: payer(),
        counterparty: counterparty(),
        event_time: AT,
    };
    let bare_decision = Decision {
        meta: bare_meta(),
        rules: Vec::new(),
        payer: PayerProfile::default(),
        counterparty: CounterpartyProfile::default(),
        ..decision.clone()
    };
    vec![sample(PaymentStatus::CODEC, status, bare_status), sample(Decision::CODEC, decision, bare_decision)]
}

fn account_samples() -> Vec<Sample> {
    let request = AccountRequest {
        id: text("r-1"),
        source: text("core"),
        request_type: text("open"),
        account: text("alice"),
        customer: text("c-1"),
        currency: text("EUR"),
        kind: text("customer"),
        limit: text("100.00"),
        created_at: text("2026-01-31T12:00:00Z"),
        parent: text("household"),
        holds: text("release"),
        segment: text("gold"),
    };
    let status = AccountStatus {
        meta: meta(),
        request_id: "r-1".to_owned(),
        source: "core".to_owned(),
        account_id: "alice".to_owned(),
        action: "open".to_owned(),
        status: "refused".to_owned(),
        code: "account_exists".to_owned(),
        reason: text("an account of that name exists"),
        event_time: AT,
        phase: StatusPhase::Repeat,
    };
    let bare_status = AccountStatus { meta: bare_meta(), reason: None, ..status.clone() };
    vec![
        sample(AccountRequest::CODEC, request, AccountRequest::default()),
        sample(AccountStatus::CODEC, status, bare_status),
    ]
}

fn ledger_samples() -> Vec<Sample> {
    let entry = LedgerEntry {
        meta: meta(),
        account_id: "alice".to_owned(),
        seq: 7,
        payment_id: "p-1".to_owned(),
        source: "shop".to_owned(),
        kind: EntryKind::Release,
        amount_minor: -1_234,
        currency: "EUR".to_owned(),
        balance_after_minor: i64::MIN,
        contra_account_id: "in_transit.3.EUR".to_owned(),
        leg_no: 3,
        fee_schedule: text("standard@1"),
        event_time: AT,
        payment_type: PaymentType::ForcePost,
        reference: text("p-0"),
        hold_minor: -1_000,
        pending_after_minor: 250,
        quote: text("q-1"),
        booking_date: Some(Date(20_484)),
        value_date: Some(Date(20_485)),
    };
    let bare_entry = LedgerEntry {
        meta: bare_meta(),
        kind: EntryKind::Debit,
        fee_schedule: None,
        reference: None,
        quote: None,
        booking_date: None,
        value_date: None,
        ..entry.clone()
    };
    let balance = AccountBalance {
        meta: meta(),
        account_id: "alice".to_owned(),
        customer: text("c-1"),
        kind: AccountKind::Expense,
        currency: "EUR".to_owned(),
        posted_minor: 100,
        pending_minor: 30,
        available_minor: 120,
        limit_minor: 50,
        seq: 7,
        debits_frozen: true,
        credits_frozen: false,
        closed: true,
        event_time: AT,
        parent: text("household"),
        pending_in_minor: 75,
    };
    let bare_balance = AccountBalance { meta: bare_meta(), customer: None, parent: None, ..balance.clone() };
    vec![
        sample(LedgerEntry::CODEC, entry, bare_entry),
        sample(AccountBalance::CODEC, balance, bare_balance),
        instruction_sample(),
    ]
}

fn instruction_sample() -> Sample {
    let instruction = Instruction {
        meta: meta(),
        kind: InstructionKind::Announce,
        payment_id: "p-1".to_owned(),
        source: "shop".to_owned(),
        account_id: "alice".to_owned(),
        debit_account: "alice".to_owned(),
        credit_account: "bob".to_owned(),
        amount_minor: 1_234,
        fee_minor: 12,
        currency: "EUR".to_owned(),
        reason: text("credit_account_closed"),
        leg_no: 3,
        event_time: AT,
        customer: text("c-1"),
        payment_type: PaymentType::Refund,
        reference: text("p-0"),
        exchange: Some(Box::new(exchange())),
        booking_date: Some(Date(20_484)),
        value_date: Some(Date(20_485)),
        fee_refund: FeeRefund::ProRata,
        fee_back_minor: 5,
        fee_schedule: text("standard@1"),
        channel: text("web"),
    };
    let bare_instruction = Instruction {
        meta: bare_meta(),
        reason: None,
        customer: None,
        reference: None,
        exchange: None,
        booking_date: None,
        value_date: None,
        fee_refund: FeeRefund::Kept,
        fee_back_minor: 0,
        fee_schedule: None,
        channel: None,
        ..instruction.clone()
    };
    sample(Instruction::CODEC, instruction, bare_instruction)
}

fn aggregate_samples() -> Vec<Sample> {
    let share = BalanceShare {
        meta: meta(),
        scope: NodeScope::Account,
        node: "household".to_owned(),
        currency: "EUR".to_owned(),
        accounts: 1,
        posted_minor: -100,
        pending_minor: 30,
        available_minor: -130,
        depth: 2,
        event_time: AT,
    };
    let bare_share = BalanceShare { meta: bare_meta(), scope: NodeScope::Customer, ..share.clone() };
    let aggregated = AggregatedBalance {
        meta: meta(),
        scope: NodeScope::Account,
        node: "household".to_owned(),
        currency: "EUR".to_owned(),
        accounts: 3,
        posted_minor: 100,
        pending_minor: 30,
        available_minor: 120,
        event_time: AT,
    };
    let bare_aggregated = AggregatedBalance { meta: bare_meta(), scope: NodeScope::Customer, ..aggregated.clone() };
    vec![sample(BalanceShare::CODEC, share, bare_share), sample(AggregatedBalance::CODEC, aggregated, bare_aggregated)]
}

fn notification_samples() -> Vec<Sample> {
    let notification = Notification {
        meta: meta(),
        notification_id: "payments.status.v1-3@42/0/email".to_owned(),
        customer: "c-1".to_owned(),
        channel: "email".to_owned(),
        category: "payment_posted".to_owned(),
        template: "payment_posted.de".to_owned(),
        subject: "Zahlung ausgeführt".to_owned(),
        body: "12,34 EUR an bob".to_owned(),
        payment_id: "p-1".to_owned(),
        status: "suppressed".to_owned(),
        reason: text("muted"),
        event_time: AT,
    };
    let bare_notification = Notification { meta: bare_meta(), reason: None, ..notification.clone() };
    let preferences = CustomerPreferences {
        meta: meta(),
        customer: "c-1".to_owned(),
        channels: vec!["push".to_owned(), "email".to_owned()],
        muted: vec!["payment_posted".to_owned()],
        language: "de".to_owned(),
        effective_from: AT,
    };
    vec![
        sample(Notification::CODEC, notification, bare_notification),
        sample(CustomerPreferences::CODEC, preferences, CustomerPreferences::default()),
    ]
}

fn fee_sample() -> Sample {
    let schedule = FeeSchedule {
        meta: meta(),
        name: "standard".to_owned(),
        version: "1".to_owned(),
        effective_from: AT,
        currency: "EUR".to_owned(),
        channel: "web".to_owned(),
        tiers: vec![
            FeeTier { up_to_minor: Some(10_000), rate: "0.01".to_owned(), flat_minor: Some(5) },
            FeeTier { up_to_minor: None, rate: "0.005".to_owned(), flat_minor: None },
        ],
        flat_minor: 0,
        min_minor: 10,
        max_minor: Some(2_500),
        rounding: "half_even".to_owned(),
        model: text("volume"),
        payment_types: vec!["capture".to_owned()],
        accounts: vec!["acc-1".to_owned()],
        customers: vec!["cust-1".to_owned()],
        priority: 7,
        free: Some(FreeAllowance { period: "month".to_owned(), amount_minor: Some(3_000), payments: None }),
        segments: vec!["gold".to_owned()],
        charged: text("deducted"),
        refunds: text("pro_rata"),
    };
    let bare_schedule = FeeSchedule {
        meta: bare_meta(),
        tiers: Vec::new(),
        max_minor: None,
        model: None,
        payment_types: Vec::new(),
        accounts: Vec::new(),
        customers: Vec::new(),
        priority: 0,
        free: None,
        segments: Vec::new(),
        charged: None,
        refunds: None,
        ..schedule.clone()
    };
    sample(FeeSchedule::CODEC, schedule, bare_schedule)
}

fn limit() -> PaymentLimit {
    let one = |text: &str| vec![text.to_owned()];
    PaymentLimit {
        meta: meta(),
        name: "groceries".to_owned(),
        version: "2".to_owned(),
        effective_from: AT,
        accounts: one("acc-1"),
        customers: one("cust-1"),
        cards: one("card-1"),
        counterparties: one("shop-1"),
        categories: one("5411"),
        payment_types: one("authorise"),
        currency: "EUR".to_owned(),
        allowed_merchants: one("shop-1"),
        allowed_categories: one("5411"),
        allowed_countries: one("DE"),
        blocked_merchants: one("shop-9"),
        blocked_categories: one("7995"),
        blocked_countries: one("XX"),
        per: "card".to_owned(),
        window: "week".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        week_starts_on: "monday".to_owned(),
        window_minutes: Some(60),
        amount_minor_max: Some(50_000),
        payments_max: Some(20),
        gives_back: one("refund"),
    }
}

fn calendar() -> PostingCalendar {
    let one = |text: &str| vec![text.to_owned()];
    PostingCalendar {
        meta: meta(),
        name: "target".to_owned(),
        version: "2026".to_owned(),
        effective_from: AT,
        channels: one("sepa"),
        payment_types: one("transfer"),
        currency: "EUR".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        weekend: vec!["saturday".to_owned(), "sunday".to_owned()],
        holidays: one("2026-12-25"),
        cut_off: "17:00".to_owned(),
        value_days: 1,
    }
}

fn reference_samples() -> Vec<Sample> {
    let label = FraudLabel {
        meta: meta(),
        payment_id: "p-1".to_owned(),
        counterparty: "m-7".to_owned(),
        fraud: true,
        event_time: AT,
    };
    let rules = FraudRules {
        meta: meta(),
        name: "default".to_owned(),
        version: "3".to_owned(),
        effective_from: AT,
        threshold: 80,
        rules: vec![Rule { name: "velocity".to_owned(), when: "payer.payments_1h > 10".to_owned(), points: 90 }],
    };
    let quote = FxQuote {
        meta: meta(),
        quote: "q-1".to_owned(),
        sell_currency: "USD".to_owned(),
        buy_currency: "INR".to_owned(),
        rate: "82.42135".to_owned(),
        spread: "0.05".to_owned(),
        effective_from: AT,
        expires_at: EventTime(AT.0 + 1),
    };
    let alert = Alert {
        meta: meta(),
        subject: "alice".to_owned(),
        code: "fraud_declined".to_owned(),
        severity: "warning".to_owned(),
        message: "a payment was declined".to_owned(),
        payment_id: text("p-1"),
        event_time: AT,
    };
    let bare_alert = Alert { meta: bare_meta(), payment_id: None, ..alert.clone() };
    vec![
        sample(FraudLabel::CODEC, label.clone(), FraudLabel { meta: bare_meta(), ..label }),
        sample(FraudRules::CODEC, rules, FraudRules::default()),
        fee_sample(),
        sample(FxQuote::CODEC, quote, FxQuote::default()),
        sample(PaymentLimit::CODEC, limit(), PaymentLimit::default()),
        sample(PostingCalendar::CODEC, calendar(), PostingCalendar::default()),
        sample(Alert::CODEC, alert, bare_alert),
    ]
}
