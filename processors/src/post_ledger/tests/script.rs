//! The language of scenarios: one line per record or question, `->` what comes of it.
//!
//! | line | result when it is not written |
//! |---|---|
//! | `open <account> [limit <amount>] [in <currency>] [kind <kind>]`, `close <account> [release]` | `applied` |
//! | `freeze <account> <debits|credits|both>`, `thaw …`, `limit <account> <amount>` | `applied` |
//! | `pay <id> <from> <to> <amount> [fee <amount> [deducted] [refunds <kept|returned|pro_rata>]] [in <currency>]` | `posted` |
//! | `deposit`, `withdraw`, `force` likewise; `force` with or without `of <id>` | `posted` |
//! | `authorise <id> <from> <to> <amount> [lasts <seconds>]`, `increment <id> <from> <to> <total> of <id>` | `posted` |
//! | `capture <id> <from> <to> <amount> of <id> [keep] [fee <amount>]`, `void <id> <from> <to> <amount|rest> of <id>` | `posted` |
//! | `refund`, `reverse`, `chargeback`, `unchargeback <id> <from> <to> <amount> of <id>` | `posted` |
//! | `decline <id> <from> <to> <amount>`: as `pay`, but the scoring before the ledger declines it | |
//! | `deliver`: every task reads its instructions until none is left | |
//! | `at <seconds>`: from here on records are made so long after the start; each takes a second | |
//! | `at <RFC 3339>`: the same, at that instant | |
//! | any payment `… with <card>`, `… at <merchant> <category> <country>` | `posted` |
//! | `used <account>`: what has been used of limits | |
//! | `balance <account>`, `available <account>`, `account <account>`, `entries <account>`, `status <payment>`, `alerts` | |
//! | `total <in_transit|fees|suspense>`: over all tasks, in EUR | |

use std::collections::BTreeMap;

use tidemill_core::{Amount, Currency, EventTime};
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{
    AccountKind, Exchange, FeeCharge, FeeRefund, FeeTerms, Merchant, PaymentType, Remainder, Verdict,
};

use super::world::{Pay, World, money};

/// Plays a scenario and returns what is left of it.
///
/// # Panics
/// At the first line whose result is another than the one that is written.
pub(super) fn play_with(settings: &str, scenario: &str) -> World {
    let mut world = World::new(settings);
    let start = world.now;
    for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (command, expected) = match line.split_once("->") {
            Some((command, expected)) => (command.trim(), Some(expected.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        if let ["at", time] = words[..] {
            world.now.0 = EventTime::parse(time).map_or_else(|| start.0 + micros(time), EventTime::micros);
            continue;
        }
        let result = play_line(&mut world, &words);
        let default = match words[0] {
            "open" | "close" | "freeze" | "thaw" | "limit" => "applied",
            "deliver" | "tick" => "",
            _ => "posted",
        };
        assert_eq!(result, expected.unwrap_or(default), "{line}");
        world.now.0 += 1_000_000;
    }
    world
}

pub(super) fn play(scenario: &str) -> World {
    play_with("", scenario)
}

/// Seconds with up to six decimal places.
fn micros(seconds: &str) -> i64 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    format!("{whole}{fraction:0<6}").parse().expect("seconds")
}

fn play_line(world: &mut World, words: &[&str]) -> String {
    let currency = option(words, "in").unwrap_or("EUR");
    if let Some(pay) = payment(words, currency) {
        return world.pay(&pay).to_owned();
    }
    let minor = |text: &str| parse_minor(text, currency);
    match *words {
        ["open", account, ..] => {
            let action = AccountAction::Open {
                customer: Some(format!("customer of {account}")),
                parent: None,
                currency: currency.to_owned(),
                kind: option(words, "kind").map_or(AccountKind::Customer, parse_kind),
                limit_minor: option(words, "limit").map_or(0, minor),
            };
            world.request(account, action).to_owned()
        }
        ["close", account] => world.request(account, AccountAction::Close(OpenHolds::Refuse)).to_owned(),
        ["close", account, "release"] => world.request(account, AccountAction::Close(OpenHolds::Release)).to_owned(),
        ["freeze", account, sides] => world.request(account, AccountAction::Freeze(parse_sides(sides))).to_owned(),
        ["thaw", account, sides] => world.request(account, AccountAction::Thaw(parse_sides(sides))).to_owned(),
        ["limit", account, amount, ..] => {
            let action = AccountAction::ChangeLimit { limit_minor: minor(amount), currency: currency.to_owned() };
            world.request(account, action).to_owned()
        }
        ["tick"] => {
            world.tick();
            String::new()
        }
        ["deliver"] => {
            world.deliver_all();
            String::new()
        }
        _ => answer(world, words),
    }
}

/// The answer to a question.
fn answer(world: &World, words: &[&str]) -> String {
    let available = |minor: i128| i64::try_from(minor).expect("fits 64 bits");
    match *words {
        ["balance", account] => {
            let account = &world.accounts()[account];
            money(account.posted_minor, account.currency.as_str())
        }
        ["available", account] => {
            let account = &world.accounts()[account];
            money(available(account.available_minor()), account.currency.as_str())
        }
        ["account", account] => {
            let account = &world.accounts()[account];
            let money = |minor| money(minor, account.currency.as_str());
            let [posted, out, expected] =
                [account.posted_minor, account.pending_minor, account.pending_in_minor].map(money);
            let available = money(available(account.available_minor()));
            format!("posted {posted} out {out} in {expected} available {available}")
        }
        ["used", account] => world.used_text(account),
        ["entries", account] => world.entries_text(account),
        ["status", payment] => world.status_text(payment),
        ["alerts"] => {
            let texts = world.alerts.iter().map(|alert| format!("{} {}", alert.code, alert.subject));
            texts.collect::<Vec<_>>().join(", ")
        }
        ["total", internal] => {
            let totals = world.internal_minor(&format!("{internal}."));
            money(available(totals.get("EUR").copied().unwrap_or_default()), "EUR")
        }
        _ => panic!("no such line: {words:?}"),
    }
}

fn payment(words: &[&str], currency: &str) -> Option<Pay> {
    if let ["journal", id, from, ..] = *words {
        return Some(journal(id, from, words, currency));
    }
    let [verb, id, from, to, amount, ..] = *words else { return None };
    let payment_type = match verb {
        "pay" | "decline" => PaymentType::Transfer,
        "withdraw" => PaymentType::Withdrawal,
        "force" => PaymentType::ForcePost,
        "unchargeback" => PaymentType::ChargebackReversal,
        "exchange" => PaymentType::FxExchange,
        verb => PaymentType::parse(verb)?,
    };
    let amount_minor = if amount == "rest" { 0 } else { parse_minor(amount, currency) };
    Some(Pay {
        fee_minor: option(words, "fee").map_or(0, |fee| parse_minor(fee, currency)),
        fee_terms: FeeTerms {
            charge: if words.contains(&"deducted") { FeeCharge::Deducted } else { FeeCharge::OnTop },
            refund: option(words, "refunds").map_or(FeeRefund::Kept, |how| FeeRefund::parse(how).expect("a policy")),
        },
        currency: currency.to_owned(),
        reference: option(words, "of").map(str::to_owned),
        lasts_micros: option(words, "lasts").map(micros),
        remainder: if words.contains(&"keep") { Remainder::Keep } else { Remainder::Release },
        verdict: if verb == "decline" { Verdict::Decline } else { Verdict::Accept },
        exchange: exchange(words, amount, currency),
        waits_micros: option(words, "waits").map(micros),
        retries_micros: option(words, "retries").map(micros),
        card: option(words, "with").map(str::to_owned),
        merchant: merchant(words),
        ..Pay::new(payment_type, id, from, to, amount_minor)
    })
}

fn merchant(words: &[&str]) -> Option<Merchant> {
    let at = words.iter().position(|word| *word == "at")?;
    let [id, category, country] = [1, 2, 3].map(|place| words[at + place].to_owned());
    Some(Merchant { id, category, country })
}

/// `journal j a 60.00 b 40.00 to c 70.00 d 30.00`: who pays what, the first leading, to whom what.
fn journal(id: &str, from: &str, words: &[&str], currency: &str) -> Pay {
    let to = words.iter().position(|word| *word == "to").expect("somebody is paid");
    let end = words.iter().position(|word| *word == "in").unwrap_or(words.len());
    let legs = |words: &[&str]| {
        let pairs = words.chunks_exact(2);
        pairs.map(|leg| (leg[0].to_owned(), parse_minor(leg[1], currency))).collect::<BTreeMap<String, i64>>()
    };
    let credits = legs(&words[to + 1..end]);
    let first = credits.keys().next().expect("somebody is paid").clone();
    let mut debits = legs(&words[2..to]);
    let amount_minor = debits.remove(from).expect("the first pays");
    let currency = currency.to_owned();
    Pay { debits, credits, currency, ..Pay::new(PaymentType::Journal, id, from, &first, amount_minor) }
}

/// `100.00 in EUR for 108.00 USD spread 0.50`
fn exchange(words: &[&str], amount: &str, currency: &str) -> Option<Exchange> {
    let at = words.iter().position(|word| *word == "for")?;
    let (bought, bought_currency) = (words[at + 1], words[at + 2]);
    Some(Exchange {
        quote: "q-1".to_owned(),
        sold_minor: parse_minor(amount, currency),
        sold_currency: currency.to_owned(),
        bought_minor: parse_minor(bought, bought_currency),
        bought_currency: bought_currency.to_owned(),
        spread_minor: option(words, "spread").map_or(0, |spread| parse_minor(spread, bought_currency)),
    })
}

fn parse_minor(text: &str, currency: &str) -> i64 {
    let amount = Amount::parse(text, Currency::parse(currency).expect("a known currency")).expect("an amount");
    i64::try_from(amount.minor).expect("fits 64 bits")
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == name).map(|at| words[at + 1])
}

fn parse_sides(text: &str) -> Sides {
    match text {
        "debits" => Sides::Debits,
        "credits" => Sides::Credits,
        "both" => Sides::Both,
        _ => panic!("no such side: {text}"),
    }
}

fn parse_kind(text: &str) -> AccountKind {
    match text {
        "customer" => AccountKind::Customer,
        "merchant" => AccountKind::Merchant,
        "external" => AccountKind::External,
        "asset" => AccountKind::Asset,
        "liability" => AccountKind::Liability,
        "income" => AccountKind::Income,
        "expense" => AccountKind::Expense,
        _ => panic!("no such kind: {text}"),
    }
}
