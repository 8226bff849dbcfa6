//! Limits on payments: what is refused at which instant, what is counted, and what is given back.

mod definitions;
mod model;

use tidemill_core::EventTime;
use tidemill_testkit::rows;

use super::script::play_with;

/// Settings of one limit of 100.00 EUR and three payments by this name, without its window.
fn limit(name: &str, more: &str) -> String {
    format!(
        "[[limits]]\nname = \"{name}\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\ncurrency = \"EUR\"\n{more}\n"
    )
}

fn of_100(name: &str, more: &str) -> String {
    limit(name, &format!("amount_minor_max = 10_000\n{more}"))
}

const BERLIN_DAY: &str = "window = \"day\"\nzone = \"Europe/Berlin\"";

/// In each row 100.00 are spent first; then, until an instant, nothing is left, and from it on all of it again.
#[test]
fn a_window_ends_at_its_very_instant() {
    let table = "
        window                                                 | spent at                    | ends at
        window='day' zone='UTC'                                | 2026-02-10T00:00:00Z        | 2026-02-11T00:00:00Z
        window='day' zone='Europe/Berlin'                      | 2026-02-09T23:00:00Z        | 2026-02-10T23:00:00Z
        # A day of 23 hours, one of 25, and one that the clock begins twice.
        window='day' zone='Europe/Berlin'                      | 2026-03-28T23:00:00Z        | 2026-03-29T22:00:00Z
        window='day' zone='Europe/Berlin'                      | 2026-10-24T22:00:00Z        | 2026-10-25T23:00:00Z
        window='day' zone='America/Havana'                     | 2025-11-02T04:00:00Z        | 2025-11-03T05:00:00Z
        window='day' zone='Asia/Kathmandu'                     | 2026-02-10T12:00:00Z        | 2026-02-10T18:15:00Z
        # 2026-02-10 is a Tuesday.
        window='week' week_starts_on='monday' zone='UTC'       | 2026-02-10T12:00:00Z        | 2026-02-16T00:00:00Z
        window='week' week_starts_on='sunday' zone='UTC'       | 2026-02-10T12:00:00Z        | 2026-02-15T00:00:00Z
        window='week' week_starts_on='tuesday' zone='UTC'      | 2026-02-10T00:00:00Z        | 2026-02-17T00:00:00Z
        window='week' week_starts_on='monday' zone='Europe/Berlin' | 2026-03-28T12:00:00Z    | 2026-03-29T22:00:00Z
        window='month' zone='UTC'                              | 2028-02-01T00:00:00Z        | 2028-03-01T00:00:00Z
        window='month' zone='America/New_York'                 | 2026-03-01T05:00:00Z        | 2026-04-01T04:00:00Z
        window='month' zone='UTC'                              | 2026-12-31T23:59:59.999999Z | 2027-01-01T00:00:00Z
        window='rolling' window_minutes=60                     | 2026-02-10T12:00:00.000001Z | 2026-02-10T13:00:00.000001Z
        window='rolling' window_minutes=1440                   | 2026-03-28T12:00:00Z        | 2026-03-29T12:00:00Z
    ";
    for row in rows(table) {
        let window = row["window"].replace(' ', "\n").replace('\'', "\"");
        let ends_at = EventTime::parse(row["ends at"]).expect("RFC 3339");
        let just_before = EventTime(ends_at.0 - 1);
        let code = match row["window"].split('\'').nth(1).expect("a window") {
            "rolling" => "rolling_amount_limit_exceeded".to_owned(),
            span => format!("{span}_amount_limit_exceeded"),
        };
        let script = format!(
            "open a limit 900.00
             open b
             at {}
             pay p1 a b 100.00
             at {just_before}
             pay p2 a b 0.01 -> {code}
             status p2       -> outcome RJCT {code} fee 0.00 limit it@1: 0.00 EUR left until {ends_at}
             at {ends_at}
             pay p3 a b 100.00
             pay p4 a b 0.01 -> {code}",
            row["spent at"]
        );
        play_with(&of_100("it", &window), &script);
    }
}

#[test]
fn payments_are_counted_as_well_as_amounts() {
    let settings = limit("few", &format!("{BERLIN_DAY}\npayments_max = 2"));
    play_with(
        &settings,
        "open a limit 900.00
         open b
         pay p1 a b 0.01
         pay p2 a b 300.00
         pay p3 a b 0.01 -> day_count_limit_exceeded
         status p3       -> outcome RJCT day_count_limit_exceeded fee 0.00 limit few@1: 0 payments left until 2026-01-31T23:00:00Z
         # The answer to a resend is the first one, and it uses nothing.
         pay p2 a b 300.00 -> duplicate
         pay p3 a b 0.01   -> duplicate
         used a            -> few 300.01 2
         # Each account has its own.
         open c limit 900.00
         pay p1 c b 1.00
         used c            -> few 1.00 1",
    );
    play_with(
        &limit("ever", "window = \"lifetime\"\namount_minor_max = 500\npayments_max = 9"),
        "open a limit 900.00
         open b
         pay p1 a b 5.00
         at 2090-01-01T00:00:00Z
         pay p2 a b 0.01 -> lifetime_amount_limit_exceeded
         status p2       -> outcome RJCT lifetime_amount_limit_exceeded fee 0.00 limit ever@1: 0.00 EUR left",
    );
}

/// The first window to be broken in the order of codes is answered, of two that break the same the one that leaves less,
/// of those the first by name.
#[test]
fn every_limit_has_to_be_kept() {
    let day = |name: &str, max: u32| limit(name, &format!("{BERLIN_DAY}\namount_minor_max = {max}"));
    let settings = [
        day("c", 6_000),
        day("b", 5_000),
        day("a", 5_000),
        of_100("month", "window = \"month\"\nzone = \"UTC\""),
        limit("single", "window = \"payment\"\namount_minor_max = 4_500"),
    ]
    .concat();
    play_with(
        &settings,
        "open a limit 900.00
         open b
         pay p0 a b 45.01 -> amount_limit_exceeded
         status p0        -> outcome RJCT amount_limit_exceeded fee 0.00 limit single@1: at most 45.00 EUR a payment
         pay p1 a b 40.00
         pay p2 a b 30.00 -> day_amount_limit_exceeded
         status p2        -> outcome RJCT day_amount_limit_exceeded fee 0.00 limit a@1: 10.00 EUR left until 2026-01-31T23:00:00Z
         at 2026-01-31T23:00:00Z
         pay p3 a b 40.00
         at 2026-02-01T23:00:00Z
         pay p4 a b 40.00
         at 2026-02-02T23:00:00Z
         pay p5 a b 40.00
         at 2026-02-03T23:00:00Z
         pay p6 a b 40.00 -> month_amount_limit_exceeded
         used a           -> a 40.00 1, b 40.00 1, c 40.00 1, month 80.00 2",
    );
}

#[test]
fn what_is_refused_uses_nothing() {
    play_with(
        &of_100("day", BERLIN_DAY),
        "open a limit 50.00
         open b
         freeze a debits
         pay p0 a b 60.00     -> debit_account_frozen
         thaw a debits
         pay p1 a b 60.00     -> insufficient_funds
         decline p2 a b 20.00 -> fraud_declined
         authorise h1 a b 60.00 -> insufficient_funds
         used a               ->
         pay p3 a b 50.00
         used a               -> day 50.00 1
         # Refused by the limit before funds are looked at.
         pay p4 a b 50.01     -> day_amount_limit_exceeded
         used a               -> day 50.00 1",
    );
}

#[test]
fn a_hold_is_counted_once_from_beginning_to_end() {
    let settings = format!("over_capture_percent = 20\n{}", of_100("day", BERLIN_DAY));
    play_with(
        &settings,
        "open a limit 900.00
         open b
         authorise h1 a b 60.00 lasts 600
         used a                         -> day 60.00 1
         increment i1 a b 100.01 of h1  -> day_amount_limit_exceeded
         increment i2 a b 80.00 of h1
         used a                         -> day 80.00 1
         capture c1 a b 30.00 of h1 keep
         capture c2 a b 20.00 of h1
         # 30.00 of the hold are given back with its end.
         used a                         -> day 50.00 1
         authorise h2 a b 50.00
         void v2 a b rest of h2
         authorise h3 a b 50.00 lasts 10
         pay p1 a b 0.01                -> day_amount_limit_exceeded
         at 600
         # The hold is over: what it used is there again, for the very payment that looks.
         pay p2 a b 50.00
         used a                         -> day 100.00 2
         # What is owed is counted and not refused: a capture beyond its hold, and a forced post.
         at 2026-02-01T12:00:00Z
         authorise h4 a b 100.00
         capture c4 a b 120.00 of h4
         force f1 a b 5.00
         used a                         -> day 125.00 2
         authorise h5 a b 0.01          -> day_amount_limit_exceeded",
    );
    play_with(
        &of_100("day", BERLIN_DAY),
        "open a limit 900.00
         open b
         authorise h1 a b 60.00
         force f1 a b 70.00 of h1
         used a -> day 70.00 1
         authorise h2 a b 30.00 lasts 5
         force f2 a b 20.00 of h2
         used a -> day 90.00 2
         authorise h3 a b 10.00 lasts 5
         at 100
         force f3 a b 10.00 of h3
         used a -> day 100.00 3
         authorise h4 a b 0.01 -> day_amount_limit_exceeded",
    );
}

/// Nobody escapes the limit of a card by leaving it out of what follows.
#[test]
fn what_follows_from_an_authorisation_is_judged_by_its_card_and_merchant() {
    let of_card = "cards = [\"card-1\"]\nallowed_categories = [\"5411\"]\nper = \"counterparty\"";
    let settings = [
        "over_capture_percent = 50\n".to_owned(),
        of_100("card", &format!("{BERLIN_DAY}\n{of_card}")),
        limit("single", "cards = [\"card-1\"]\nwindow = \"payment\"\namount_minor_max = 9_500"),
    ]
    .concat();
    play_with(
        &settings,
        "open a limit 900.00
         open b
         authorise h1 a b 60.00 with card-1 at shop-1 5411 DE
         increment i1 a b 95.01 of h1  -> amount_limit_exceeded
         increment i2 a b 90.00 of h1
         used a                        -> card (shop-1) 90.00 1
         # Nor does another merchant or card change anything: the hold is for its own.
         increment i3 a b 95.01 of h1 with card-2 at shop-2 7995 DE -> amount_limit_exceeded
         authorise h2 a b 10.01 with card-1 at shop-1 5411 DE -> day_amount_limit_exceeded
         capture c1 a b 120.00 of h1
         used a                        -> card (shop-1) 120.00 1",
    );
}

#[test]
fn closing_an_account_gives_back_its_holds() {
    play_with(
        &of_100("day", BERLIN_DAY),
        "open a limit 900.00
         open b
         authorise h1 a b 60.00
         close a release
         used a ->",
    );
}

/// A reversal, refund or chargeback gives back what its limit says, to the window in which it was used.
#[test]
fn what_a_reversal_gives_back_is_declared() {
    let nothing = of_100("none", BERLIN_DAY);
    let refunds = of_100("refunds", &format!("{BERLIN_DAY}\ngives_back = [\"refund\"]"));
    let all = of_100("some", &format!("{BERLIN_DAY}\ngives_back = [\"reverse\", \"refund\", \"chargeback\"]"));
    play_with(
        &[nothing, refunds, all].concat(),
        "open a limit 900.00
         open b limit 900.00
         pay p1 a b 40.00
         pay p2 a b 10.00
         pay p3 a b 5.00
         deliver
         used a -> none 55.00 3, some 55.00 3, refunds 55.00 3
         refund r1 b a 15.00 of p1
         # It has not arrived.
         used a -> none 55.00 3, some 55.00 3, refunds 55.00 3
         deliver
         used a -> none 55.00 3, some 40.00 3, refunds 40.00 3
         refund r2 b a 25.00 of p1
         deliver
         used a -> none 55.00 3, some 15.00 2, refunds 15.00 2
         reverse r3 b a 10.00 of p2
         chargeback r4 b a 5.00 of p3
         deliver
         used a -> none 55.00 3, refunds 15.00 2
         # The day after, what comes back is none of its.
         pay p5 a b 40.00
         deliver
         at 2026-01-31T23:00:00Z
         pay p6 a b 1.00
         refund r5 b a 40.00 of p5
         deliver
         used a -> none 1.00 1, some 1.00 1, refunds 1.00 1",
    );
}

#[test]
fn a_refund_of_a_capture_gives_back_what_the_authorisation_used() {
    play_with(
        &of_100("day", &format!("{BERLIN_DAY}\ngives_back = [\"refund\"]")),
        "open a limit 900.00
         open b limit 900.00
         authorise h1 a b 60.00
         capture c1 a b 20.00 of h1 keep
         capture c2 a b 40.00 of h1
         deliver
         used a -> day 60.00 1
         refund r1 b a 20.00 of c1
         deliver
         # The payment was counted with its first capture.
         used a -> day 40.00 0
         refund r2 b a 40.00 of c2
         deliver
         used a ->",
    );
}

#[test]
fn money_that_comes_back_was_not_spent() {
    play_with(
        &of_100("day", BERLIN_DAY),
        "open a limit 900.00
         open b
         pay p1 a nobody 40.00
         used a -> day 40.00 1
         deliver
         used a ->
         # A journal: the leader and the other payer are counted alike, and so is their money when it fails.
         open c limit 5.00
         journal j1 a 60.00 c 4.00 to b 64.00
         used a -> day 60.00 1
         deliver
         used a -> day 60.00 1
         used c -> day 4.00 1
         journal j2 a 20.00 c 40.00 to b 60.00
         deliver
         used a -> day 60.00 1
         used c -> day 4.00 1
         # One payee of two cannot be paid.
         journal j3 a 30.00 to b 10.00 nobody 20.00
         deliver
         used a -> day 70.00 2",
    );
}

#[test]
fn the_further_payers_of_a_journal_have_limits_of_their_own() {
    play_with(
        &limit("legs", &format!("accounts = [\"c\"]\n{BERLIN_DAY}\namount_minor_max = 5_000")),
        "open a limit 900.00
         open b
         open c limit 900.00
         open d limit 900.00
         journal j1 a 10.00 c 50.01 to b 60.01
         deliver
         status j1 -> outcome PDNG ok fee 0.00, update RJCT day_amount_limit_exceeded fee 0.00
         journal j2 a 10.00 c 50.00 to b 60.00
         deliver
         used c    -> legs 50.00 1
         used a    ->
         # c gives, d does not.
         at 2026-01-31T23:00:00Z
         freeze d debits
         journal j3 a 10.00 c 20.00 d 5.00 to b 35.00
         deliver
         used c    ->",
    );
}

#[test]
fn a_payment_that_waits_is_counted_when_it_is_carried_out() {
    let settings = format!("scheduled_grace_minutes = 0\n{}", of_100("day", BERLIN_DAY));
    play_with(
        &settings,
        "open a limit 900.00
         open b
         pay p1 a b 60.00 waits 86400
         pay p2 a b 60.00 waits 86401
         pay p3 a b 60.00
         used a -> day 60.00 1
         at 86500
         tick
         deliver
         used a -> day 60.00 1
         balance b -> 120.00
         status p2 -> outcome PDNG ok fee 0.00, update RJCT day_amount_limit_exceeded fee 0.00 limit day@1: 40.00 EUR left until 2026-02-01T23:00:00Z",
    );
}

#[test]
fn an_exchange_is_counted_in_what_is_sold() {
    play_with(
        &of_100("day", &format!("{BERLIN_DAY}\ngives_back = [\"reverse\"]")),
        "open a limit 900.00
         open b in USD limit 900.00
         exchange x1 a b 60.00 for 64.00 USD
         exchange x2 a b 40.01 for 43.00 USD -> day_amount_limit_exceeded
         deliver
         used a -> day 60.00 1
         reverse r1 b a 64.00 of x1 in USD for 64.00 USD
         deliver
         used a ->",
    );
}

#[test]
fn limits_count_by_card_counterparty_and_type() {
    let per = |name: &str, per: &str| of_100(name, &format!("{BERLIN_DAY}\nper = \"{per}\""));
    play_with(
        &[per("c", "card"), per("m", "counterparty"), per("t", "payment_type")].concat(),
        "open a limit 900.00
         open b
         open s
         pay p1 a b 60.00 with card-0001-7788
         pay p2 a b 60.00 with card-0001-7788 -> day_amount_limit_exceeded
         # Another card, but the counterparty and the type are the same.
         pay p3 a b 40.01 with card-0002-9999 -> day_amount_limit_exceeded
         pay p4 a s 40.00
         withdraw w1 a s 60.00
         authorise h1 a b 40.00 with card-0001-7788 at shop-1 5411 DE
         used a -> c (card …7788) 100.00 2, m (s) 100.00 2, m (b) 60.00 1, m (shop-1) 40.00 1, t (authorise) 40.00 1, t (transfer) 100.00 2, t (withdrawal) 60.00 1",
    );
}

#[test]
fn merchants_are_allowed_and_blocked() {
    let settings = [
        limit(
            "work",
            "cards = [\"work-card\"]\nallowed_categories = [\"4121\", \"7011\"]\nblocked_countries = [\"US\"]",
        ),
        limit("family", "customers = [\"customer of a\"]\nblocked_merchants = [\"casino\"]"),
        limit("fuel", "categories = [\"5541\"]\nwindow = \"payment\"\namount_minor_max = 15_000"),
    ]
    .concat();
    play_with(
        &settings,
        "open a limit 900.00
         open b
         open c limit 900.00
         authorise h1 a b 10.00 with work-card at taxi 4121 DE
         authorise h2 a b 10.00 with work-card at shop 5411 DE -> merchant_category_not_allowed
         status h2 -> outcome RJCT merchant_category_not_allowed fee 0.00 limit work@1: not among what it allows
         authorise h3 a b 10.00 with work-card at taxi 4121 US -> merchant_country_not_allowed
         # No merchant is none of those that are allowed.
         pay p1 a b 10.00 with work-card -> merchant_category_not_allowed
         pay p2 a b 10.00
         authorise h4 a b 10.00 at casino 7995 DE -> merchant_not_allowed
         authorise h5 c b 10.00 at casino 7995 DE
         authorise h6 a b 150.01 at pump 5541 DE -> amount_limit_exceeded
         authorise h7 a b 150.00 at pump 5541 DE
         increment i7 a b 150.01 of h7 at pump 5541 DE -> amount_limit_exceeded
         # Of two rules about merchants the first in the order of codes.
         authorise h8 a b 10.00 with work-card at casino 5411 DE -> merchant_not_allowed",
    );
}

#[test]
fn types_that_nobody_asks_for_are_limited_when_they_are_named() {
    play_with(
        &limit(
            "refunds",
            &format!("payment_types = [\"refund\", \"deposit\"]\n{BERLIN_DAY}\namount_minor_max = 2_000"),
        ),
        "open cash kind asset
         open a limit 900.00
         open b limit 900.00
         pay p1 a b 50.00
         deliver
         refund r1 b a 20.00 of p1
         refund r2 b a 0.01 of p1 -> day_amount_limit_exceeded
         deposit d1 cash a 20.01 -> day_amount_limit_exceeded
         used a ->
         used b -> refunds 20.00 1",
    );
}
