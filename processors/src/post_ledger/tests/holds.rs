//! The life of a hold, as scenarios and as one table of every transition.

use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountKind, PaymentType};
use tidemill_testkit::rows;

use super::script::{play, play_with};
use super::world::{Audits, Pay, World};

/// Every state a hold can be in against everything that can be asked of it, and what is on the account afterwards.
#[test]
fn every_transition() {
    // 100.00 of 150.00 are held. `after` is posted, held and available of the payer.
    let states = [
        ("open", "hold"),
        ("partly captured", "hold\ncapture c0 a b 30.00 of h keep"),
        ("captured", "hold\ncapture c0 a b 30.00 of h"),
        ("captured to the last cent", "hold\ncapture c0 a b 100.00 of h keep"),
        ("voided", "hold\nvoid v0 a b rest of h"),
        ("voided after a capture", "hold\ncapture c0 a b 30.00 of h keep\nvoid v0 a b 70.00 of h"),
        ("expired", "hold\nat 10"),
        ("refused", "authorise h a b 900.00 lasts 10 -> insufficient_funds"),
    ];
    let table = "
        state                     | request                        | result               | after
        open                      | capture x a b 40.00 of h       | posted               | -40.00 0.00 110.00
        open                      | capture x a b 40.00 of h keep  | posted               | -40.00 60.00 50.00
        open                      | capture x a b 100.00 of h      | posted               | -100.00 0.00 50.00
        open                      | capture x a b 100.01 of h      | capture_exceeds_hold | 0.00 100.00 50.00
        open                      | void x a b rest of h           | posted               | 0.00 0.00 150.00
        open                      | void x a b 100.00 of h         | posted               | 0.00 0.00 150.00
        open                      | void x a b 99.99 of h          | reference_mismatch   | 0.00 100.00 50.00
        open                      | increment x a b 150.00 of h    | posted               | 0.00 150.00 0.00
        open                      | increment x a b 150.01 of h    | insufficient_funds   | 0.00 100.00 50.00
        open                      | increment x a b 100.00 of h    | increment_not_higher | 0.00 100.00 50.00
        open                      | force x a b 200.00 of h        | posted               | -200.00 0.00 -50.00
        partly captured           | capture x a b 70.00 of h       | posted               | -100.00 0.00 50.00
        partly captured           | capture x a b 20.00 of h keep  | posted               | -50.00 50.00 50.00
        partly captured           | capture x a b 20.00 of h       | posted               | -50.00 0.00 100.00
        partly captured           | capture x a b 70.01 of h       | capture_exceeds_hold | -30.00 70.00 50.00
        partly captured           | void x a b rest of h           | posted               | -30.00 0.00 120.00
        partly captured           | void x a b 70.00 of h          | posted               | -30.00 0.00 120.00
        partly captured           | increment x a b 120.00 of h    | posted               | -30.00 90.00 30.00
        partly captured           | force x a b 10.00 of h         | posted               | -40.00 0.00 110.00
        captured                  | capture x a b 1.00 of h        | already_captured     | -30.00 0.00 120.00
        captured                  | capture x a b 70.01 of h       | capture_exceeds_hold | -30.00 0.00 120.00
        captured                  | void x a b rest of h           | already_captured     | -30.00 0.00 120.00
        captured                  | increment x a b 120.00 of h    | already_captured     | -30.00 0.00 120.00
        captured                  | force x a b 10.00 of h         | already_captured     | -30.00 0.00 120.00
        captured to the last cent | capture x a b 0.01 of h        | capture_exceeds_hold | -100.00 0.00 50.00
        captured to the last cent | void x a b rest of h           | already_captured     | -100.00 0.00 50.00
        captured to the last cent | increment x a b 120.00 of h    | already_captured     | -100.00 0.00 50.00
        voided                    | capture x a b 1.00 of h        | already_voided       | 0.00 0.00 150.00
        voided                    | void x a b rest of h           | already_voided       | 0.00 0.00 150.00
        voided                    | void x a b 100.00 of h         | already_voided       | 0.00 0.00 150.00
        voided                    | increment x a b 120.00 of h    | already_voided       | 0.00 0.00 150.00
        voided                    | force x a b 10.00 of h         | posted               | -10.00 0.00 140.00
        voided after a capture    | capture x a b 1.00 of h        | already_voided       | -30.00 0.00 120.00
        voided after a capture    | void x a b rest of h           | already_voided       | -30.00 0.00 120.00
        expired                   | capture x a b 1.00 of h        | hold_expired         | 0.00 100.00 50.00
        expired                   | void x a b rest of h           | hold_expired         | 0.00 100.00 50.00
        expired                   | increment x a b 120.00 of h    | hold_expired         | 0.00 100.00 50.00
        expired                   | force x a b 10.00 of h         | posted               | -10.00 0.00 140.00
        # Nothing is held any more, so all of it can be spent: the hold is given free before the payment is judged.
        expired                   | pay x a b 150.00               | posted               | -150.00 0.00 0.00
        refused                   | capture x a b 1.00 of h        | reference_not_open   | 0.00 0.00 150.00
        refused                   | void x a b rest of h           | reference_not_open   | 0.00 0.00 150.00
        refused                   | increment x a b 999.00 of h    | reference_not_open   | 0.00 0.00 150.00
        refused                   | force x a b 10.00 of h         | posted               | -10.00 0.00 140.00
    ";
    for row in rows(table) {
        let (_, setup) = states.iter().find(|(name, _)| *name == row["state"]).expect("a state");
        let setup = setup.replace("hold", "authorise h a b 100.00 lasts 10");
        let words: Vec<&str> = row["after"].split(' ').collect();
        let scenario = format!(
            "open a limit 150.00
             open b
             at 0
             {setup}
             {} -> {}
             account a -> posted {} out {} in 0.00 available {}
             deliver",
            row["request"], row["result"], words[0], words[1], words[2]
        );
        play(&scenario);
    }
}

/// To the microsecond, which is as fine as event time goes.
#[test]
fn a_hold_ends_exactly_at_its_instant() {
    let capture_at = |time: &str, result: &str| {
        play(&format!(
            "open a limit 100.00
             open b
             at 100
             authorise h a b 100.00 lasts 10
             at {time}
             capture c a b 100.00 of h -> {result}"
        ));
    };
    capture_at("109.999999", "posted");
    capture_at("110", "hold_expired");
    // What is held is available again from that very instant, and not before.
    let pay_at = |time: &str, result: &str| {
        play(&format!(
            "open a limit 100.00
             open b
             at 100
             authorise h a b 100.00 lasts 10
             at {time}
             pay p a b 100.00 -> {result}"
        ));
    };
    pay_at("109.999999", "insufficient_funds");
    pay_at("110", "posted");
}

/// The clock of an account never runs backwards: once something has happened after the end, it is over.
#[test]
fn a_late_capture_is_judged_by_the_clock_of_its_account() {
    play(
        "open a limit 100.00
         open b
         open c limit 5.00
         at 100
         authorise h a b 60.00 lasts 10
         at 120
         # Neither a refusal nor another account moves the clock.
         pay p0 a b 500.00                -> insufficient_funds
         pay p1 c b 5.00
         at 109
         capture c1 a b 10.00 of h keep
         at 120
         pay p2 a b 1.00
         at 109
         capture c2 a b 10.00 of h        -> hold_expired
         account a                        -> posted -11.00 out 0.00 in 0.00 available 89.00
         entries a -> hold 60.00 = 0.00 (b), debit -10.00 = -10.00 (in_transit), release -50.00 = -10.00 (b), debit -1.00 = -11.00 (in_transit)
         status h  -> outcome PDNG ok fee 0.00, update ACSC hold_expired fee 0.00",
    );
}

#[test]
fn holds_end_in_the_order_of_their_instants() {
    let world = play(
        "open a limit 100.00
         open b
         at 0
         authorise h1 a b 10.00 lasts 30
         authorise h2 a b 20.00 lasts 10
         authorise h3 a b 30.00 lasts 29
         authorise h4 a b 15.00 lasts 28
         at 31
         # Made at 0, 2 and 3, h1, h3 and h4 end at 30, 31 and 31: the elder first.
         pay p a b 100.00
         entries a -> hold 10.00 = 0.00 (b), hold 20.00 = 0.00 (b), hold 30.00 = 0.00 (b), hold 15.00 = 0.00 (b), release -20.00 = 0.00 (b), release -10.00 = 0.00 (b), release -30.00 = 0.00 (b), release -15.00 = 0.00 (b), debit -100.00 = -100.00 (in_transit)",
    );
    let order: Vec<&str> = world.entries["a"][4..8].iter().map(|entry| entry.payment_id.as_str()).collect();
    assert_eq!(order, ["h2", "h1", "h3", "h4"]);
}

/// posted 100, held 30, limit 50: 120 can be spent, 121 cannot.
#[test]
fn available_is_posted_less_held_and_limit() {
    play(
        "open bank limit 100.00
         open a limit 50.00
         open b
         pay p0 bank a 100.00
         deliver
         authorise h a b 30.00
         account a                        -> posted 100.00 out 30.00 in 0.00 available 120.00
         pay p1 a b 121.00                -> insufficient_funds
         pay p2 a b 120.00
         account a                        -> posted -20.00 out 30.00 in 0.00 available 0.00",
    );
}

#[test]
fn several_captures_and_what_the_payee_expects() {
    play(
        "open a limit 100.00
         open b
         authorise h a b 80.00
         deliver
         account b                        -> posted 0.00 out 0.00 in 80.00 available 0.00
         # What is held for b is not b's to spend.
         pay p b a 1.00                   -> insufficient_funds
         increment i a b 100.00 of h
         capture c1 a b 30.00 of h keep
         deliver
         account b                        -> posted 30.00 out 0.00 in 70.00 available 30.00
         capture c2 a b 20.00 of h keep fee 0.20
         capture c3 a b 25.00 of h
         deliver
         account b                        -> posted 75.00 out 0.00 in 0.00 available 75.00
         account a                        -> posted -75.20 out 0.00 in 0.00 available 24.80
         status h  -> outcome PDNG ok fee 0.00, update ACSC ok fee 0.00
         status i  -> outcome PDNG ok fee 0.00
         status c2 -> outcome ACSC ok fee 0.20
         capture c4 a b 1.00 of h         -> already_captured",
    );
}

#[test]
fn batches_do_not_hold_more_than_there_is() {
    play(
        "open a limit 100.00
         open b
         authorise h1 a b 60.00
         authorise h2 a b 60.00           -> insufficient_funds
         authorise h3 a b 40.00
         pay p1 a b 0.01                  -> insufficient_funds
         void v a b rest of h1
         authorise h4 a b 60.00
         available a                      -> 0.00",
    );
}

#[test]
fn more_than_authorised_can_be_captured_where_the_settings_allow() {
    let over = "over_capture_percent = 15";
    play_with(
        over,
        "open a limit 120.00
         open b
         authorise h1 a b 10.01
         # 15 % of 10.01 are 1.5015: a fraction of a cent is not allowed beyond.
         capture c1 a b 11.52 of h1       -> capture_exceeds_hold
         capture c2 a b 11.51 of h1
         authorise h2 a b 100.00
         # 115.00 are allowed, but what goes beyond the hold asks for funds: 8.49 are left.
         capture c3 a b 108.50 of h2      -> insufficient_funds
         capture c4 a b 100.00 of h2 keep
         capture c5 a b 8.49 of h2        -> already_captured
         account a                        -> posted -111.51 out 0.00 in 0.00 available 8.49",
    );
    play_with(
        over,
        "open a limit 120.00
         open b
         authorise h a b 100.00
         capture c1 a b 90.00 of h keep
         capture c2 a b 25.00 of h keep
         account a                        -> posted -115.00 out 0.00 in 0.00 available 5.00",
    );
}

/// A capture is paid for by its hold; its fee is taken without asking, and not in silence.
#[test]
fn the_fee_of_a_capture_may_go_below_the_limit() {
    play(
        "open a limit 100.00
         open b
         authorise h a b 100.00
         capture c a b 100.00 of h fee 1.00
         available a                      -> -1.00
         alerts                           -> account_overdrawn a
         # What is held already is honoured, whatever else has happened.
         pay p a b 0.01                   -> insufficient_funds",
    );
}

#[test]
fn a_forced_post_asks_for_no_funds() {
    play(
        "open a
         open b
         force f1 a b 5.00
         available a                      -> -5.00
         alerts                           -> account_overdrawn a
         authorise h a b 1.00             -> insufficient_funds
         force f2 a b 1.00 of h
         force f3 a b 1.00 of nothing     -> reference_not_found
         force f4 a b 1.00 of f1          -> reference_not_open
         freeze a debits
         force f5 a b 1.00                -> debit_account_frozen
         deliver
         balance b                        -> 6.00",
    );
}

#[test]
fn references_must_fit() {
    play(
        "open a limit 100.00
         open b
         open c limit 100.00
         authorise h a b 10.00
         pay p a b 10.00
         capture c1 a b 1.00 of nothing   -> reference_not_found
         # A hold is found by the account it is on.
         capture c2 c b 1.00 of h         -> reference_not_found
         capture c3 a c 1.00 of h         -> reference_mismatch
         capture c4 a b 1.00 of p         -> reference_not_open
         void v1 a c rest of h            -> reference_mismatch
         increment i1 a b 20.00 of p      -> reference_not_open
         force f1 a c 1.00 of h           -> reference_mismatch
         capture c5 a b 10.00 of h",
    );
}

#[test]
fn a_frozen_account_gives_nothing_but_holds_free() {
    play(
        "open a limit 100.00
         open b
         authorise h1 a b 10.00
         authorise h2 a b 10.00
         freeze a debits
         authorise h3 a b 10.00           -> debit_account_frozen
         increment i a b 20.00 of h1      -> debit_account_frozen
         capture c a b 10.00 of h1        -> debit_account_frozen
         void v a b rest of h1
         available a                      -> 90.00
         thaw a debits
         capture c2 a b 10.00 of h2",
    );
}

#[test]
fn an_account_with_open_holds_is_closed_as_it_is_asked() {
    play(
        "open a limit 100.00
         open b
         at 0
         authorise h1 a b 10.00 lasts 1000
         authorise h2 a b 20.00 lasts 500
         deliver
         close a                          -> account_not_empty
         close a release
         account a                        -> posted 0.00 out 0.00 in 0.00 available 100.00
         entries a -> hold 10.00 = 0.00 (b), hold 20.00 = 0.00 (b), release -20.00 = 0.00 (b), release -10.00 = 0.00 (b)
         status h1 -> outcome PDNG ok fee 0.00, update CANC ok fee 0.00
         capture c a b 10.00 of h1        -> already_voided
         authorise h3 a b 10.00           -> debit_account_closed
         deliver
         account b                        -> posted 0.00 out 0.00 in 0.00 available 0.00",
    );
    play(
        "open a limit 100.00
         open b
         pay p a b 1.00
         authorise h1 a b 10.00
         close a release                  -> account_not_empty",
    );
    // Holds that are over do not keep an account open.
    play(
        "open a limit 100.00
         open b
         at 0
         authorise h1 a b 10.00 lasts 10
         at 9.999999
         close a                          -> account_not_empty
         at 10
         close a
         status h1 -> outcome PDNG ok fee 0.00, update CANC hold_expired fee 0.00",
    );
}

#[test]
fn an_account_has_so_many_open_holds_and_no_more() {
    play_with(
        "holds_per_account_max = 2",
        "open a limit 100.00
         open b
         authorise h1 a b 1.00
         authorise h2 a b 1.00
         authorise h3 a b 1.00            -> limit_exceeded
         void v a b rest of h1
         authorise h4 a b 1.00",
    );
}

#[test]
fn a_hold_that_came_too_late_is_not_made() {
    play(
        "open a limit 100.00
         open b
         at 100
         pay p a b 1.00
         at 50
         authorise h1 a b 1.00 lasts 50   -> hold_expired
         authorise h2 a b 1.00 lasts 51",
    );
}

/// An account that nobody touches is told by the sweep, a day after the end at the earliest.
#[test]
fn untouched_holds_are_given_free_by_the_sweep() {
    let mut world = World::of_tasks(1, "", Audits::OnDemand);
    let kind = AccountKind::Customer;
    let open =
        AccountAction::Open { customer: None, parent: None, currency: "EUR".to_owned(), kind, limit_minor: 9_999 };
    for account in ["a", "b", "other"] {
        world.request(account, open.clone());
    }
    let hold = Pay { lasts_micros: Some(10_000_000), ..Pay::new(PaymentType::Authorise, "h", "a", "b", 1_000) };
    assert_eq!(world.pay(&hold), "posted");
    // The clock of the task moves by an hour per payment at most, and the sweep looks after every 64 of them.
    for hour in 0..26 {
        world.now.0 += 3_600_000_000;
        for number in 0..70 {
            world.pay(&Pay::new(PaymentType::Transfer, &format!("{hour}-{number}"), "other", "b", 1));
        }
        let expected = if hour < 24 { 1_000 } else { 0 };
        assert_eq!(world.accounts()["a"].pending_minor, expected, "{} hours after", hour + 1);
    }
    assert_eq!(world.status_text("h"), "outcome PDNG ok fee 0.00, update CANC hold_expired fee 0.00");
}
