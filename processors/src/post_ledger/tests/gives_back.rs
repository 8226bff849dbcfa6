//! Money that goes back: refunds, reversals, chargebacks and their reversals; and money from and to the outside.

use super::script::{play, play_with};

#[test]
fn a_payment_is_refunded_in_parts_and_never_beyond() {
    play(
        "open a limit 100.00
         open b
         pay p a b 50.00 fee 0.50
         # Before the money has arrived there is nothing to give back.
         refund r0 b a 10.00 of p         -> reference_not_found
         deliver
         refund r1 b a 20.00 of p
         refund r2 b a 30.01 of p         -> refund_exceeds_captured
         refund r3 b a 30.00 of p
         refund r4 b a 0.01 of p          -> refund_exceeds_captured
         deliver
         balance b                        -> 0.00
         balance a                        -> -0.50
         entries b -> credit 50.00 = 50.00 (in_transit), debit -20.00 = 30.00 (in_transit), debit -30.00 = 0.00 (in_transit)
         entries a -> debit -50.00 = -50.00 (in_transit), fee -0.50 = -50.50 (fees, standard@1), credit 20.00 = -30.50 (in_transit), credit 30.00 = -0.50 (in_transit)
         status r1 -> outcome ACSC ok fee 0.00
         refund r1 b a 20.00 of p         -> duplicate",
    );
}

#[test]
fn captures_are_refunded_each_on_its_own() {
    play(
        "open a limit 100.00
         open b
         authorise h a b 80.00
         capture c1 a b 30.00 of h keep
         capture c2 a b 50.00 of h
         deliver
         refund r1 b a 31.00 of c1        -> refund_exceeds_captured
         refund r2 b a 30.00 of c1
         refund r3 b a 10.00 of h         -> reference_not_found
         refund r4 b a 50.00 of c2
         deliver
         balance a                        -> 0.00",
    );
}

#[test]
fn a_refund_needs_the_money() {
    play(
        "open a limit 100.00
         open b
         open c
         pay p1 a b 50.00
         deliver
         pay p2 b c 40.00
         refund r1 b a 50.00 of p1        -> insufficient_funds
         refund r2 b a 10.00 of p1
         # The refused one has not counted.
         deliver
         pay p3 a b 40.00
         deliver
         refund r3 b a 40.00 of p1",
    );
}

#[test]
fn a_reversal_undoes_a_payment_whole_and_once_and_brings_its_fee_back() {
    let scenario = |back: &str| {
        format!(
            "open a limit 100.00
             open b
             pay p a b 50.00 fee 0.50
             deliver
             reverse x1 b a 49.99 of p        -> reference_mismatch
             reverse x2 b a 50.00 of p
             reverse x3 b a 50.00 of p        -> already_reversed
             refund r b a 10.00 of p          -> already_reversed
             deliver
             balance b                        -> 0.00
             balance a                        -> {back}
             reverse x4 a b 50.00 of x2       -> reference_not_found
             pay p a b 50.00                  -> duplicate"
        )
    };
    let world = play(&scenario("0.00"));
    assert!(world.status_text("p").ends_with("repeat ACSC ok fee 0.50 reversed: x2"), "{}", world.status_text("p"));
    assert!(world.entries_text("a").ends_with("credit 50.00 = -0.50 (in_transit), fee 0.50 = 0.00 (fees, standard@1)"));
    play_with("return_fee = false", &scenario("-0.50"));
}

#[test]
fn what_has_been_refunded_is_not_reversed_as_well() {
    play(
        "open a limit 100.00
         open b
         pay p a b 50.00
         deliver
         refund r b a 0.01 of p
         reverse x b a 50.00 of p         -> refund_exceeds_captured
         chargeback k b a 49.99 of p
         chargeback l b a 0.01 of p       -> refund_exceeds_captured",
    );
}

#[test]
fn a_reversal_of_spent_money_is_refused_or_forced() {
    let scenario = |result: &str| {
        format!(
            "open a limit 100.00
             open b
             open c
             pay p a b 50.00
             deliver
             pay q b c 50.00
             reverse x b a 50.00 of p         -> {result}"
        )
    };
    play(&scenario("insufficient_funds"));
    let world = play_with("reverse_when_spent = \"force\"", &scenario("posted"));
    assert_eq!(world.alerts[0].code, "account_overdrawn");
}

/// The whole dispute: paid, charged back although the money is spent, won, and refundable again.
#[test]
fn a_chargeback_and_its_reversal() {
    play(
        "open a limit 100.00
         open shop
         open c
         pay p a shop 50.00
         deliver
         pay q shop c 50.00
         chargeback k shop a 30.00 of p
         available shop                   -> -30.00
         alerts                           -> account_overdrawn shop
         deliver
         balance a                        -> -20.00
         refund r1 shop a 20.01 of p      -> refund_exceeds_captured
         chargeback l shop a 10.00 of k   -> reference_not_found
         unchargeback u0 a shop 30.01 of k -> refund_exceeds_captured
         unchargeback u1 a shop 10.00 of k
         unchargeback u2 a shop 20.00 of k
         unchargeback u3 a shop 0.01 of k -> refund_exceeds_captured
         unchargeback u4 a shop 0.01 of p -> reference_not_found
         deliver
         available shop                   -> 0.00
         pay s c shop 50.00
         deliver
         refund r2 shop a 50.00 of p
         refund r3 shop a 0.01 of p       -> refund_exceeds_captured
         deliver
         balance a                        -> 0.00",
    );
}

#[test]
fn a_chargeback_after_a_full_refund_recovers_nothing_twice() {
    play(
        "open a limit 100.00
         open b
         pay p a b 50.00
         deliver
         refund r b a 50.00 of p
         chargeback k b a 50.00 of p      -> refund_exceeds_captured",
    );
}

/// What could not be given back stays with the payee, and can be given back again.
#[test]
fn a_refund_that_comes_back_has_not_been_given() {
    play(
        "open a limit 100.00
         open b
         pay p a b 50.00
         deliver
         freeze a credits
         refund r1 b a 50.00 of p
         refund r2 b a 1.00 of p          -> refund_exceeds_captured
         deliver
         balance b                        -> 50.00
         status r1 -> outcome ACSC ok fee 0.00, update RJCT credit_account_frozen fee 0.00 returned: credit_account_frozen
         reverse x1 b a 50.00 of p
         reverse x2 b a 50.00 of p        -> already_reversed
         deliver
         thaw a credits
         reverse x3 b a 50.00 of p
         deliver
         balance a                        -> 0.00",
    );
}

#[test]
fn what_can_be_given_back_and_what_cannot() {
    play(
        "open bank kind asset
         open a limit 100.00
         open b
         deposit d bank a 20.00
         withdraw w a bank 5.00
         force f a b 1.00
         pay q a b 1.00
         deliver
         reverse x1 a bank 20.00 of d
         reverse x2 bank a 5.00 of w
         refund r1 b a 1.00 of f
         refund r2 b a 1.00 of q
         deliver
         # A refund is not refunded, and a chargeback's reversal is of a chargeback.
         refund r3 a b 1.00 of r2         -> reference_not_found
         unchargeback u a b 1.00 of r2    -> reference_not_found
         chargeback k1 a bank 1.00 of d   -> already_reversed
         pay s a b 2.00
         deliver
         chargeback k2 b a 2.00 of s
         deliver
         refund r4 a b 1.00 of k2         -> reference_not_open
         unchargeback v b a 1.00 of q     -> reference_not_open",
    );
}

#[test]
fn money_comes_from_and_goes_to_settlement_accounts() {
    play(
        "open bank kind asset
         open nostro limit 10.00 kind external
         open a
         deposit d1 bank a 100.00
         deposit d2 nostro a 10.00
         deposit d3 nostro a 0.01         -> insufficient_funds
         deliver
         deposit d4 a bank 1.00           -> settlement_account_required
         account bank                     -> posted -100.00 out 0.00 in 0.00 available -100.00
         withdraw w1 a bank 30.00 fee 0.30
         withdraw w2 a nostro 10.00
         open b
         withdraw w3 a b 1.00
         deliver
         status w3 -> outcome ACSC ok fee 0.00, update RJCT settlement_account_required fee 0.00 returned: settlement_account_required
         balance a                        -> 69.70
         balance bank                     -> -70.00
         withdraw w4 a bank 69.71         -> insufficient_funds",
    );
}

#[test]
fn the_books_of_a_small_bank() {
    play(
        "open cash kind asset
         open rent kind expense
         open interest kind income
         open equity kind liability
         # Founders pay in, the rent is paid, a customer pays interest.
         deposit d1 cash equity 1000.00
         pay e1 rent cash 200.00
         open a
         deposit d2 cash a 50.00
         deliver
         pay i1 a interest 5.00
         deliver
         balance cash                     -> -850.00
         balance rent                     -> -200.00
         balance interest                 -> 5.00
         balance equity                   -> 1000.00
         balance a                        -> 45.00
         # Income is spent only as far as there is any.
         pay i2 interest equity 5.01      -> insufficient_funds",
    );
}
