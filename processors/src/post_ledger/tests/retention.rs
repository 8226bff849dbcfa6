//! How long holds and receipts can be referred to.

use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountKind, PaymentType};

use super::world::{Audits, Pay, World};

const HOUR_MICROS: i64 = 3_600_000_000;

fn world(settings: &str) -> World {
    let mut world = World::of_tasks(1, settings, Audits::OnDemand);
    for account in ["a", "b", "other"] {
        let (currency, kind) = ("EUR".to_owned(), AccountKind::Customer);
        let limit_minor = 1_000_000;
        world.request(account, AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor });
    }
    world
}

fn about(payment_type: PaymentType, id: &str, [from, to]: [&str; 2], amount_minor: i64, reference: &str) -> Pay {
    Pay { reference: Some(reference.to_owned()), ..Pay::new(payment_type, id, from, to, amount_minor) }
}

/// The task's clock moves by an hour per payment at most, and a sweep takes a step for every 64 of them.
fn let_hours_pass(world: &mut World, name: &str, hours: u32) {
    for hour in 0..hours {
        world.now.0 += HOUR_MICROS;
        for number in 0..130 {
            world.pay(&Pay::new(PaymentType::Transfer, &format!("{name}-{hour}-{number}"), "other", "b", 1));
        }
        world.deliver_all();
    }
}

#[test]
fn an_open_hold_is_remembered_longer_than_other_outcomes() {
    let mut world = world("outcome_retention_days = 1");
    let hold =
        Pay { lasts_micros: Some(100 * 24 * HOUR_MICROS), ..Pay::new(PaymentType::Authorise, "h", "a", "b", 100) };
    assert_eq!(world.pay(&hold), "posted");
    assert_eq!(world.pay(&Pay::new(PaymentType::Transfer, "p", "a", "b", 1)), "posted");
    let_hours_pass(&mut world, "first", 60);
    let forgotten = about(PaymentType::Capture, "c0", ["a", "b"], 40, "p");
    assert_eq!(world.pay(&forgotten), "reference_not_found", "the transfer is forgotten");
    assert_eq!(world.pay(&about(PaymentType::Capture, "c1", ["a", "b"], 40, "h")), "posted");
    let_hours_pass(&mut world, "second", 60);
    assert_eq!(world.pay(&about(PaymentType::Capture, "c2", ["a", "b"], 1, "h")), "reference_not_found");
}

#[test]
fn a_payment_can_be_given_back_for_so_many_days() {
    let mut world = world("refund_days = 2");
    assert_eq!(world.pay(&Pay::new(PaymentType::Transfer, "p", "a", "b", 100)), "posted");
    world.deliver_all();
    let_hours_pass(&mut world, "first", 47);
    assert_eq!(world.pay(&about(PaymentType::Refund, "r1", ["b", "a"], 40, "p")), "posted");
    let_hours_pass(&mut world, "second", 60);
    assert_eq!(world.pay(&about(PaymentType::Refund, "r2", ["b", "a"], 40, "p")), "reference_not_found");
}
