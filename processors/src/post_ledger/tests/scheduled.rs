//! Payments that wait for their time, by what their task has witnessed. `tick` lets every task witness the time it is.

use super::script::{play, play_with};

#[test]
fn a_payment_is_carried_out_when_its_time_has_come() {
    play_with(
        "scheduled_grace_minutes = 1",
        "open a limit 100.00
         open b
         at 100
         pay p a b 40.00 fee 0.40 waits 1000
         status p                          -> outcome PDNG ok fee 0.40
         available a                       -> 100.00
         pay p a b 40.00 fee 0.40 waits 1000 -> duplicate
         pay p a b 40.00 fee 0.40 waits 1001 -> idempotency_conflict
         # A microsecond before its time and the grace, and at the very instant.
         at 1159.999999
         tick
         deliver
         balance b                         -> 0.00
         at 1160
         tick
         deliver
         balance b                         -> 40.00
         balance a                         -> -40.40
         status p                          -> outcome PDNG ok fee 0.40, repeat PDNG ok fee 0.40, repeat RJCT idempotency_conflict fee 0.00, update ACSC ok fee 0.40
         refund r b a 40.00 of p
         deliver
         cancel c a b 40.00 of p           -> already_executed",
    );
}

/// The next sender's clock is right, and so is that of the one after.
#[test]
fn one_fast_clock_makes_nothing_happen_early() {
    play_with(
        "scheduled_grace_minutes = 0",
        "open a limit 100.00
         open b
         at 0
         pay p a b 40.00 waits 1000
         at 80000
         pay n1 a b 1.00
         at 10
         pay n2 a b 1.00
         pay n3 a b 1.00
         deliver
         balance b                         -> 3.00
         at 1000
         pay n4 a b 1.00
         deliver
         balance b                         -> 4.00
         pay n5 a b 1.00
         deliver
         balance b                         -> 45.00",
    );
}

#[test]
fn a_payment_whose_time_has_passed_does_not_wait() {
    play(
        "open a limit 100.00
         open b
         at 100
         pay n a b 1.00
         at 10
         pay p a b 40.00 waits 90
         status p                          -> outcome ACSC ok fee 0.00",
    );
}

#[test]
fn a_payment_is_called_off_while_it_waits() {
    play_with(
        "scheduled_grace_minutes = 0",
        "open a limit 100.00
         open b
         open c
         pay p a b 40.00 waits 1000
         pay q a b 40.00 waits 1000
         cancel c1 a b 1.00 of p           -> reference_mismatch
         cancel c2 a c rest of p           -> reference_mismatch
         cancel c3 a b rest of nothing     -> reference_not_found
         cancel c4 a b rest of p
         status p                          -> outcome PDNG ok fee 0.00, update CANC ok fee 0.00
         status c4                         -> outcome CANC ok fee 0.00
         cancel c5 a b rest of p           -> already_cancelled
         # Called off at the last moment: its instruction is on its way and finds nothing.
         at 2000
         tick
         cancel c6 a b 40.00 of q
         pay n a b 1.00
         deliver
         balance b                         -> 1.00
         cancel c7 a b 1.00 of n           -> reference_not_open
         pay p a b 40.00 waits 1000        -> duplicate",
    );
}

/// It is judged by the books as they are when its time has come.
#[test]
fn for_lack_of_funds_it_is_tried_again() {
    let settings = "scheduled_grace_minutes = 0\nretry_minutes = 10";
    let begin = "open cash kind asset
         open a
         open b
         at 0
         pay p a b 40.00 waits 100 retries 1300
         at 100
         tick
         deliver
         status p                          -> outcome PDNG ok fee 0.00, update PDNG insufficient_funds fee 0.00
         deposit d cash a 39.99
         deliver
         at 700
         tick
         deliver
         balance b                         -> 0.00
         at 1299
         tick
         deliver";
    let once_more = "deposit e cash a 0.01
         deliver
         at 1300
         tick
         deliver
         balance a                         -> 0.00
         balance b                         -> 40.00";
    play_with(settings, &format!("{begin}\n{once_more}"));
    let in_vain = "at 1300
         tick
         deliver
         # The next would be after the last that was asked for.
         cancel k a b 40.00 of p           -> reference_not_open
         deposit e cash a 10.00
         deliver
         at 9999
         tick
         deliver
         balance b                         -> 0.00
         pay p a b 40.00 waits 100 retries 1300 -> duplicate";
    let world = play_with(settings, &format!("{begin}\n{in_vain}"));
    let text = world.status_text("p");
    assert!(text.contains("update RJCT insufficient_funds"), "{text}");
    assert!(text.ends_with("repeat PDNG ok fee 0.00 refused: insufficient_funds"), "{text}");
}

#[test]
fn what_is_refused_for_another_reason_is_not_tried_again() {
    let world = play_with(
        "scheduled_grace_minutes = 0",
        "open a
         open b
         pay p a b 40.00 waits 100 retries 100000000
         close a
         at 1000
         tick
         deliver
         cancel k a b rest of p            -> reference_not_open",
    );
    assert!(world.status_text("p").contains("update RJCT debit_account_closed"), "{}", world.status_text("p"));
}

#[test]
fn so_many_may_wait_and_no_more() {
    play_with(
        "scheduled_per_account_max = 2",
        "open a
         open b
         pay p1 a b 1.00 waits 10
         pay p2 a b 1.00 waits 10
         pay p3 a b 1.00 waits 10          -> limit_exceeded
         cancel c a b rest of p1
         pay p4 a b 1.00 waits 10",
    );
}

/// More are due at once than one record sends on their way.
#[test]
fn many_that_are_due_are_sent_by_the_records_that_follow() {
    let mut scenario = "open a limit 100.00\nopen b\n".to_owned();
    for number in 0..70 {
        scenario += &format!("pay p{number} a b 0.01 waits 1000\n");
    }
    scenario += "at 2000\ntick\ndeliver\nbalance b -> 0.32\ntick\ndeliver\nbalance b -> 0.70";
    play_with("scheduled_grace_minutes = 0", &scenario);
}
