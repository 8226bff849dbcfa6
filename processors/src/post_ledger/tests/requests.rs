//! Account requests under the same id, contradictory instructions, and how long outcomes are kept.

use tidemill_core::{Class, EventTime, Outcome};
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{AccountKind, FeeRefund, Instruction, InstructionKind, PaymentType, StatusPhase};

use super::super::outcomes::PAYMENT_OUTCOMES;
use super::world::{Pay, World};

fn open(customer: Option<&str>, currency: &str, kind: AccountKind, limit_minor: i64) -> AccountAction {
    AccountAction::Open {
        customer: customer.map(str::to_owned),
        parent: None,
        currency: currency.to_owned(),
        kind,
        limit_minor,
    }
}

#[test]
fn a_request_id_with_any_other_content_conflicts() {
    let mut world = World::new("");
    let open_with = |customer: Option<&str>, parent: Option<&str>| AccountAction::Open {
        customer: customer.map(str::to_owned),
        parent: parent.map(str::to_owned),
        currency: "EUR".to_owned(),
        kind: AccountKind::Customer,
        limit_minor: 5,
    };
    let first = world.command("r", "a", open_with(None, None));
    assert_eq!(world.send(first.clone()), "applied");
    let change_limit = AccountAction::ChangeLimit { limit_minor: 5, currency: "EUR".to_owned() };
    let changed = [
        ("customer", open_with(Some(""), None)),
        ("parent", open_with(None, Some("b"))),
        ("currency", open(None, "JPY", AccountKind::Customer, 5)),
        ("kind", open(None, "EUR", AccountKind::Merchant, 5)),
        ("limit", open(None, "EUR", AccountKind::Customer, 6)),
        ("type", AccountAction::Freeze(Sides::Debits)),
        ("type", AccountAction::Thaw(Sides::Debits)),
        ("type", AccountAction::ChangeSegment { segment: None }),
        ("type", change_limit),
        ("type", AccountAction::Close(OpenHolds::Refuse)),
    ];
    for (field, action) in changed {
        let command = world.command("r", "a", action);
        assert_eq!(world.send(command.clone()), "idempotency_conflict", "{command:?}");
        let reason = world.account_statuses.last().and_then(|status| status.reason.clone()).expect("a reason");
        assert!(reason.contains(&format!("another {field};")), "{reason}");
    }
    let mut later = first.clone();
    later.created_at = EventTime(first.created_at.0 + 1);
    assert_eq!(world.send(later), "idempotency_conflict");
    assert_eq!(world.send(first), "duplicate", "the first outcome is untouched");
    let answers: Vec<_> = world
        .account_statuses
        .iter()
        .map(|status| (status.status.as_str(), status.code.as_str(), status.phase))
        .collect();
    assert_eq!(answers[0], ("done", "ok", StatusPhase::Outcome));
    assert_eq!(answers[1], ("refused", "idempotency_conflict", StatusPhase::Repeat));
    assert_eq!(answers[answers.len() - 1], ("done", "ok", StatusPhase::Repeat));
}

/// Every field that a request of one type can say differently.
#[test]
fn requests_of_one_type_are_told_apart() {
    let limit = |limit_minor, currency: &str| AccountAction::ChangeLimit { limit_minor, currency: currency.to_owned() };
    let pairs = [
        ("kind", AccountAction::Freeze(Sides::Debits), AccountAction::Freeze(Sides::Credits)),
        ("kind", AccountAction::Thaw(Sides::Debits), AccountAction::Thaw(Sides::Both)),
        ("kind", AccountAction::Close(OpenHolds::Refuse), AccountAction::Close(OpenHolds::Release)),
        ("limit", limit(5, "EUR"), limit(6, "EUR")),
        ("currency", limit(5, "EUR"), limit(5, "USD")),
    ];
    for (field, first, second) in pairs {
        let mut world = World::new("");
        world.request("a", open(None, "EUR", AccountKind::Customer, 0));
        assert_eq!(world.send(world.command("r", "a", first.clone())), "applied");
        assert_eq!(world.send(world.command("r", "a", second)), "idempotency_conflict", "{first:?}");
        let reason = world.account_statuses.last().and_then(|status| status.reason.clone()).expect("a reason");
        assert!(reason.contains(&format!("another {field};")), "{reason}");
    }
}

#[test]
fn a_limit_counts_from_the_next_payment_on() {
    super::script::play(
        "open a limit 10.00
         open b
         pay p1 a b 10.00
         limit a 5.00
         available a                      -> -5.00
         pay p2 a b 0.01                  -> insufficient_funds
         limit a 20.00
         pay p3 a b 10.00
         limit a 20 in JPY                -> currency_mismatch
         limit nobody 1.00                -> account_not_found
         close b
         limit b 1.00                     -> account_closed",
    );
}

#[test]
fn a_refused_request_stays_refused() {
    let mut world = World::new("");
    let close = world.command("r", "a", AccountAction::Close(OpenHolds::Refuse));
    assert_eq!(world.send(close.clone()), "account_not_found");
    assert_eq!(world.request("a", open(None, "EUR", AccountKind::Customer, 0)), "applied");
    assert_eq!(world.send(close), "duplicate");
    let last = world.account_statuses.last().expect("was answered");
    assert_eq!((last.status.as_str(), last.code.as_str()), ("refused", "account_not_found"));
    assert!(!world.accounts()["a"].closed);
}

#[test]
fn nobody_opens_an_account_of_an_internal_kind() {
    for kind in [AccountKind::Fee, AccountKind::InTransit, AccountKind::Suspense] {
        assert_eq!(World::new("").request("a", open(None, "EUR", kind, 0)), "account_reserved", "{kind:?}");
    }
    for kind in [AccountKind::Customer, AccountKind::Merchant, AccountKind::External, AccountKind::Asset] {
        assert_eq!(World::new("").request("a", open(None, "EUR", kind, 0)), "applied", "{kind:?}");
    }
}

#[test]
fn an_instruction_that_contradicts_itself_breaks_an_invariant() {
    let sound = Instruction {
        meta: Default::default(),
        kind: InstructionKind::Credit,
        payment_id: "p".to_owned(),
        source: "bank".to_owned(),
        account_id: "b".to_owned(),
        debit_account: "a".to_owned(),
        credit_account: "b".to_owned(),
        amount_minor: 5,
        fee_minor: 1,
        currency: "EUR".to_owned(),
        reason: None,
        leg_no: 2,
        event_time: EventTime::EARLIEST,
        customer: None,
        payment_type: PaymentType::Transfer,
        reference: None,
        exchange: None,
        booking_date: None,
        value_date: None,
        fee_refund: FeeRefund::Kept,
        fee_back_minor: 0,
        fee_schedule: None,
        channel: None,
    };
    let cases = [
        Instruction { amount_minor: 0, ..sound.clone() },
        Instruction { fee_minor: -1, ..sound.clone() },
        Instruction { fee_back_minor: -1, ..sound.clone() },
        Instruction { account_id: "a".to_owned(), ..sound.clone() },
        Instruction { kind: InstructionKind::Return, ..sound.clone() },
        Instruction { kind: InstructionKind::Return, account_id: "a".to_owned(), ..sound.clone() },
        Instruction { kind: InstructionKind::Announce, amount_minor: -1, ..sound.clone() },
        Instruction { kind: InstructionKind::Announce, account_id: "a".to_owned(), ..sound.clone() },
        Instruction { kind: InstructionKind::Collect, amount_minor: 0, ..sound.clone() },
        Instruction { kind: InstructionKind::Collected, account_id: "a".to_owned(), ..sound.clone() },
        Instruction { kind: InstructionKind::Uncollect, account_id: "a".to_owned(), ..sound.clone() },
        Instruction { kind: InstructionKind::Execute, account_id: "b".to_owned(), ..sound },
    ];
    for instruction in cases {
        let mut world = World::new("");
        let ran = world.task_of(&instruction.account_id.clone()).send_event(instruction.clone());
        let class = ran.reject.as_ref().map(|reject| reject.class());
        assert_eq!(class, Some(Class::Invariant), "{instruction:?}");
        assert_eq!(ran.outcome, Outcome::Dead("ledger_unbalanced"), "{instruction:?}: nobody may answer it");
        assert!(ran.emitted.is_empty(), "{instruction:?}");
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

/// A payment that is refused, at `now`; only its outcome is of interest.
fn refused(world: &mut World, id: &str) -> &'static str {
    let priced = world.priced(&Pay::new(PaymentType::Transfer, id, "nobody", "b", 1));
    world.task_of("nobody").send_event(priced).code()
}

fn refuse_many(world: &mut World, name: &str, count: usize) {
    for index in 0..count {
        refused(world, &format!("{name}{index}"));
    }
}

#[test]
fn outcomes_are_forgotten_after_their_time_and_never_before() {
    // The longest id comes last in the order of the store, where only a sweep that moves on finds it.
    const OLDEST: &str = "the oldest payment of all of them";
    let mut world = World::new("outcome_retention_days = 1");
    refused(&mut world, OLDEST);
    for _ in 0..24 {
        world.now.0 += DAY_MICROS / 24;
        let name = format!("{}-", world.now.0);
        refuse_many(&mut world, &name, 70);
    }
    // Two entries are looked at for each one recorded, so this many lead the sweep all the way round the store.
    refuse_many(&mut world, "even", 4_000);
    assert_eq!(refused(&mut world, OLDEST), "duplicate", "a day has passed, and not a moment more");
    world.now.0 += 1;
    refuse_many(&mut world, "more", 8_000);
    assert_eq!(refused(&mut world, OLDEST), "debit_account_not_found", "forgotten, the id is free again");
    assert_eq!(refused(&mut world, "more0"), "duplicate");
}

#[test]
fn one_payment_dated_years_ahead_makes_nothing_be_forgotten() {
    let mut world = World::new("outcome_retention_days = 1");
    refused(&mut world, "old");
    let now = world.now;
    world.now = EventTime::LATEST;
    refused(&mut world, "from the future");
    world.now = now;
    refuse_many(&mut world, "more", 1_000);
    assert_eq!(refused(&mut world, "old"), "duplicate");
}

/// A payment that was made long ago is new to the ledger all the same.
#[test]
fn a_backdated_payment_is_remembered_from_when_it_came() {
    let mut world = World::new("outcome_retention_days = 1");
    refused(&mut world, "now");
    world.now.0 -= 300 * DAY_MICROS;
    refused(&mut world, "backdated");
    refuse_many(&mut world, "more", 1_000);
    assert_eq!(refused(&mut world, "backdated"), "duplicate");
    assert_eq!(world.task_of("nobody").state.len(PAYMENT_OUTCOMES.name()), 1_002);
}
