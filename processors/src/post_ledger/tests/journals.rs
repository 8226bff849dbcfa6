//! Journals: several accounts pay several others, all of it or nothing of it.

use super::script::{play, play_with};

#[test]
fn one_pays_many_at_once() {
    play(
        "open a limit 100.00
         open b
         open c
         journal j1 a 100.01 to b 60.00 c 40.01   -> insufficient_funds
         journal j2 a 100.00 to b 60.00 c 40.00
         status j2                                 -> outcome ACSC ok fee 0.00
         deliver
         balance a                                 -> -100.00
         entries b                                 -> credit 60.00 = 60.00 (in_transit)
         balance c                                 -> 40.00
         journal j2 a 100.00 to b 60.00 c 40.00    -> duplicate
         journal j2 a 100.00 to b 40.00 c 60.00    -> idempotency_conflict
         refund r c a 10.00 of j2
         reverse x c a 40.00 of j2                 -> reference_not_open
         deliver
         balance a                                 -> -90.00",
    );
}

#[test]
fn many_pay_many_once_all_have_given() {
    play(
        "open a limit 100.00
         open b limit 50.00
         open c limit 50.00
         open d
         open e
         journal j a 60.00 b 30.00 c 10.00 to d 75.00 e 25.00
         balance a                                 -> -60.00
         total clearing                            -> 60.00
         status j                                  -> outcome PDNG ok fee 0.00
         deliver
         status j                                  -> outcome PDNG ok fee 0.00, update ACSC ok fee 0.00
         balance b                                 -> -30.00
         balance c                                 -> -10.00
         balance d                                 -> 75.00
         balance e                                 -> 25.00
         total clearing                            -> 0.00
         journal j a 60.00 b 30.00 c 10.00 to d 75.00 e 25.00 -> duplicate
         status j                                  -> outcome PDNG ok fee 0.00, update ACSC ok fee 0.00, repeat PDNG ok fee 0.00",
    );
}

/// Whoever answers first, of two refusals the one that is first in the order of codes is told.
#[test]
fn if_one_gives_nothing_everybody_has_everything_back() {
    play(
        "open a limit 100.00
         open b limit 50.00
         open c limit 5.00
         open d
         freeze c debits
         journal j a 60.00 b 30.00 c 10.00 nobody 1.00 to d 101.00
         deliver
         status j                                  -> outcome PDNG ok fee 0.00, update RJCT debit_account_not_found fee 0.00
         entries a                                 -> debit -60.00 = -60.00 (clearing), return 60.00 = 0.00 (clearing)
         entries b                                 -> debit -30.00 = -30.00 (in_transit), return 30.00 = 0.00 (in_transit)
         entries c                                 ->
         balance d                                 -> 0.00
         total clearing                            -> 0.00
         alerts                                    ->",
    );
}

#[test]
fn what_nobody_can_take_back_stands_in_suspense() {
    play(
        "open a kind asset
         open b limit 50.00
         open c
         open d
         open e
         journal j a 60.00 b 30.00 c 10.00 to d 100.00
         freeze a credits
         freeze b credits
         deliver
         total suspense                            -> 90.00
         alerts                                    -> money_in_suspense a, money_in_suspense b
         total clearing                            -> 0.00",
    );
}

/// A leg that is refused comes back to the account that leads; the others stay.
#[test]
fn a_payee_that_is_gone_costs_its_own_leg_alone() {
    let world = play_with(
        "",
        "open a limit 100.00
         open b
         close b
         open c
         journal j a 100.00 to b 60.00 c 40.00
         deliver
         balance a                                 -> -40.00
         balance c                                 -> 40.00
         status j                                  -> outcome ACSC ok fee 0.00, update PART credit_account_closed fee 0.00 returned: credit_account_closed",
    );
    let last = world.statuses.last().expect("was told");
    assert_eq!((last.credit_account.as_str(), last.amount_minor), ("b", 6_000));
}
