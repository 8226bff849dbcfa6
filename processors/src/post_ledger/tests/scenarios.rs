//! What the ledger does, as scenarios in the language of `script.rs`.

use super::script::{play, play_with};

#[test]
fn funds_are_judged_on_what_earlier_payments_left() {
    play(
        "open a limit 100.00
         open b
         pay p1 a b 60.00
         pay p2 a b 60.00                 -> insufficient_funds
         available a                      -> 40.00",
    );
    play(
        "open a limit 100.00
         open b
         pay p1 a b 60.00
         pay p2 a b 50.00                 -> insufficient_funds
         pay p3 a b 40.00
         available a                      -> 0.00
         pay p4 a b 0.01                  -> insufficient_funds",
    );
}

#[test]
fn a_transfer_from_both_sides() {
    play(
        "open a limit 100.00
         open b
         pay p1 a b 40.00 fee 0.40
         total in_transit                 -> 40.00
         balance b                        -> 0.00
         deliver
         entries a                        -> debit -40.00 = -40.00 (in_transit), fee -0.40 = -40.40 (fees, standard@1)
         entries b                        -> credit 40.00 = 40.00 (in_transit)
         total in_transit                 -> 0.00
         total fees                       -> 0.40
         status p1                        -> outcome ACSC ok fee 0.40
         # What has arrived can be spent.
         pay p2 b a 40.00
         pay p3 b a 0.01                  -> insufficient_funds",
    );
}

#[test]
fn the_fee_counts_against_the_funds() {
    play(
        "open a limit 10.00
         open b
         pay p1 a b 10.00 fee 0.01        -> insufficient_funds
         pay p2 a b 9.99 fee 0.01
         available a                      -> 0.00",
    );
}

#[test]
fn a_failure_is_as_final_as_a_success() {
    play(
        "open a
         open b limit 500.00
         pay p1 a b 10.00                 -> insufficient_funds
         pay p2 b a 50.00
         deliver
         available a                      -> 50.00
         pay p1 a b 10.00                 -> duplicate
         status p1                        -> outcome RJCT insufficient_funds fee 0.00, repeat RJCT insufficient_funds fee 0.00
         pay p3 a b 10.00
         pay p3 a b 10.00                 -> duplicate
         balance a                        -> 40.00
         status p3                        -> outcome ACSC ok fee 0.00, repeat ACSC ok fee 0.00",
    );
}

#[test]
fn an_id_with_another_content_conflicts() {
    play(
        "open a limit 100.00
         open b
         open c
         pay p1 a b 10.00
         pay p1 a b 10.01                 -> idempotency_conflict
         pay p1 a c 10.00                 -> idempotency_conflict
         pay p1 a b 10 in JPY             -> idempotency_conflict
         pay p1 a b 10.00                 -> duplicate
         # The debit account is part of the identity.
         pay p1 b a 10.00                 -> insufficient_funds
         balance a                        -> -10.00",
    );
    play(
        "open a limit 100.00
         open b
         pay p1 a b 10.00
         pay p1 a b 10.01                 -> idempotency_conflict
         status p1                        -> outcome ACSC ok fee 0.00, repeat RJCT idempotency_conflict fee 0.00",
    );
}

#[test]
fn the_first_answer_stands_when_scoring_changes_its_mind() {
    play(
        "open a limit 100.00
         open b
         decline p1 a b 10.00             -> fraud_declined
         pay p1 a b 10.00                 -> duplicate
         status p1                        -> outcome RJCT fraud_declined fee 0.00, repeat RJCT fraud_declined fee 0.00
         pay p2 a b 10.00
         decline p2 a b 10.00             -> duplicate
         status p2                        -> outcome ACSC ok fee 0.00, repeat ACSC ok fee 0.00
         decline p2 a b 11.00             -> fraud_declined
         status p2                        -> outcome ACSC ok fee 0.00, repeat ACSC ok fee 0.00, repeat RJCT idempotency_conflict fee 0.00
         pay p2 a b 10.00                 -> duplicate
         balance a                        -> -10.00",
    );
}

/// Each payment breaks two rules, a rule and the next one; the earlier is answered.
#[test]
fn the_first_rule_that_is_broken_is_answered() {
    play(
        "open b
         open jpy in JPY
         open closed
         close closed
         open both
         freeze both debits
         # not found before mismatch, the rest cannot be known
         pay p1 nobody b 10.00            -> debit_account_not_found
         # mismatch before closed
         open closedjpy in JPY
         close closedjpy
         pay p2 closedjpy b 10.00         -> currency_mismatch
         # closed before frozen
         open frozenclosed
         freeze frozenclosed both
         close frozenclosed
         pay p3 frozenclosed b 10.00      -> debit_account_closed
         # frozen before overflow and funds
         pay p4 both b 92233720368547758.07 fee 0.01 -> debit_account_frozen
         # overflow before funds
         open c limit 0.01
         pay p5 c b 92233720368547758.07 fee 0.02 -> amount_overflow
         pay p6 c b 92233720368547758.07 fee 0.01 -> insufficient_funds
         pay p7 jpy b 10.00               -> currency_mismatch
         pay p8 closed b 10.00            -> debit_account_closed
         # a conflict before everything
         pay p8 closed b 10.01            -> idempotency_conflict",
    );
}

#[test]
fn refused_credits_come_back_with_their_fee() {
    play(
        "open a limit 300.00
         open closed
         close closed
         open frozen
         freeze frozen credits
         open jpy in JPY
         open blocked
         freeze blocked debits
         pay p1 a nobody 10.00 fee 0.10
         pay p2 a closed 20.00 fee 0.20
         pay p3 a frozen 30.00
         pay p4 a jpy 40.00
         pay p5 a blocked 50.00
         pay p6 a in_transit.0.EUR 60.00
         total in_transit                 -> 210.00
         deliver
         balance a                        -> -50.00
         balance blocked                  -> 50.00
         total fees                       -> 0.00
         status p1 -> outcome ACSC ok fee 0.10, update RJCT credit_account_not_found fee 0.00 returned: credit_account_not_found
         status p2 -> outcome ACSC ok fee 0.20, update RJCT credit_account_closed fee 0.00 returned: credit_account_closed
         status p3 -> outcome ACSC ok fee 0.00, update RJCT credit_account_frozen fee 0.00 returned: credit_account_frozen
         status p4 -> outcome ACSC ok fee 0.00, update RJCT currency_mismatch fee 0.00 returned: currency_mismatch
         status p5 -> outcome ACSC ok fee 0.00
         status p6 -> outcome ACSC ok fee 0.00, update RJCT credit_account_not_found fee 0.00 returned: credit_account_not_found
         entries frozen                   ->",
    );
    play(
        "open a limit 100.00
         pay p1 a nobody 10.00 fee 0.10
         deliver
         entries a -> debit -10.00 = -10.00 (in_transit), fee -0.10 = -10.10 (fees, standard@1), return 10.00 = -0.10 (in_transit), fee 0.10 = 0.00 (fees, standard@1)
         # A resend learns of the first outcome, and of what came after it.
         pay p1 a nobody 10.00            -> duplicate
         status p1 -> outcome ACSC ok fee 0.10, update RJCT credit_account_not_found fee 0.00 returned: credit_account_not_found, repeat ACSC ok fee 0.10 returned: credit_account_not_found",
    );
}

#[test]
fn the_fee_of_a_returned_payment_can_be_kept() {
    play_with(
        "return_fee = false",
        "open a limit 100.00
         pay p1 a nobody 10.00 fee 0.10
         deliver
         balance a                        -> -0.10
         total fees                       -> 0.10
         status p1 -> outcome ACSC ok fee 0.10, update RJCT credit_account_not_found fee 0.10 returned: credit_account_not_found",
    );
}

#[test]
fn money_that_nobody_can_take_stands_in_suspense() {
    play(
        "open a limit 100.00
         open b limit 10.00
         pay p1 a nobody 10.00 fee 0.10
         freeze a credits
         deliver
         balance a                        -> -10.10
         total suspense                   -> 10.10
         total fees                       -> 0.00
         alerts                           -> money_in_suspense a
         status p1 -> outcome ACSC ok fee 0.10, update RJCT in_suspense fee 0.00 returned: credit_account_not_found
         pay p1 a nobody 10.00            -> duplicate
         status p1 -> outcome ACSC ok fee 0.10, update RJCT in_suspense fee 0.00 returned: credit_account_not_found, repeat ACSC ok fee 0.10 in suspense: credit_account_not_found",
    );
    // The payer spends what is there, closes, and only then does the money come back.
    let world = play(
        "open a
         open b limit 10.00
         pay p1 b a 10.00
         deliver
         pay p2 a nobody 10.00
         close a
         deliver
         balance a                        -> 0.00
         total suspense                   -> 10.00",
    );
    let suspense = world.entries.keys().find(|id| id.starts_with("suspense.")).expect("an entry of its own");
    assert_eq!(world.entries_text(suspense), "return 10.00 = 10.00 (in_transit)");
}

#[test]
fn accounts_open_freeze_and_close_once() {
    play(
        "open a limit 10.00
         open a                           -> account_already_open
         open b
         freeze nobody both               -> account_not_found
         close nobody                     -> account_not_found
         freeze a both
         pay p1 a b 1.00                  -> debit_account_frozen
         thaw a credits
         pay p2 a b 1.00                  -> debit_account_frozen
         thaw a debits
         pay p3 a b 1.00
         close a                          -> account_not_empty
         deliver
         pay p4 b a 1.00
         deliver
         close a
         close a                          -> account_closed
         freeze a both                    -> account_closed
         open a                           -> account_already_open
         pay p5 a b 1.00                  -> debit_account_closed",
    );
}

#[test]
fn internal_accounts_cannot_be_named() {
    play(
        "open in_transit.0.EUR            -> account_reserved
         open fees.1.EUR                  -> account_reserved
         open suspense.x                  -> account_reserved
         open feeshop
         open a limit 10.00
         pay p1 a feeshop 1.00 fee 1.00
         deliver
         freeze fees.0.EUR both           -> account_not_found
         freeze fees.1.EUR both           -> account_not_found
         pay p2 fees.0.EUR a 1.00         -> debit_account_not_found
         pay p3 fees.1.EUR a 1.00         -> debit_account_not_found",
    );
}

/// `rich` and `other` lie in one partition, `full` and `modest` in the other.
#[test]
fn a_balance_that_would_leave_64_bits_is_refused_on_either_side() {
    play(
        "open rich limit 92233720368547758.07
         open other limit 1.00
         open modest limit 1.00
         open full
         pay p1 rich full 92233720368547758.07
         # The payer's side of this partition has all its money in transit.
         pay p2 other full 1.00           -> amount_overflow
         deliver
         pay p3 modest full 1.00
         deliver
         status p3 -> outcome ACSC ok fee 0.00, update RJCT amount_overflow fee 0.00 returned: amount_overflow
         balance modest                   -> 0.00
         balance full                     -> 92233720368547758.07",
    );
}
