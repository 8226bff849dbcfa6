//! The language of scenarios: one line per record or question, `->` what comes of it.
//!
//! | line | result when it is not written |
//! |---|---|
//! | `open <account> [limit <amount>] [in <currency>]`, `close <account>` | `applied` |
//! | `freeze <account> <debits|credits|both>`, `thaw …` | `applied` |
//! | `pay <id> <from> <to> <amount> [fee <amount>] [in <currency>]` | `posted` |
//! | `decline <id> <from> <to> <amount>`: as `pay`, but the scoring before the ledger declines it | |
//! | `deliver`: every task reads its instructions until none is left | |
//! | `balance <account>`, `available <account>`, `entries <account>`, `status <payment>`, `alerts` | |
//! | `total <in_transit|fees|suspense>`: over all tasks, in EUR | |

use tidemill_core::{Amount, Currency};
use tidemill_schemas::account::{AccountAction, Sides};
use tidemill_schemas::{AccountKind, Verdict};

use super::world::{Pay, World, money};

/// Plays a scenario and returns what is left of it.
///
/// # Panics
/// At the first line whose result is another than the one that is written.
pub(super) fn play_with(settings: &str, scenario: &str) -> World {
    let mut world = World::new(settings);
    for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (command, expected) = match line.split_once("->") {
            Some((command, expected)) => (command.trim(), Some(expected.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        let result = play_line(&mut world, &words);
        let default = match words[0] {
            "pay" => "posted",
            "deliver" => "",
            _ => "applied",
        };
        assert_eq!(result, expected.unwrap_or(default), "{line}");
        world.now.0 += 1_000_000;
    }
    world
}

pub(super) fn play(scenario: &str) -> World {
    play_with("", scenario)
}

fn play_line(world: &mut World, words: &[&str]) -> String {
    let currency = option(words, "in").unwrap_or("EUR");
    let minor = |text: &str| {
        let amount = Amount::parse(text, Currency::parse(currency).expect("a known currency")).expect("an amount");
        i64::try_from(amount.minor).expect("fits 64 bits")
    };
    match *words {
        ["open", account, ..] => world
            .request(
                account,
                AccountAction::Open {
                    customer: Some(format!("customer of {account}")),
                    currency: currency.to_owned(),
                    kind: AccountKind::Customer,
                    limit_minor: option(words, "limit").map_or(0, minor),
                },
            )
            .to_owned(),
        ["close", account] => world.request(account, AccountAction::Close).to_owned(),
        ["freeze", account, sides] => world.request(account, AccountAction::Freeze(parse_sides(sides))).to_owned(),
        ["thaw", account, sides] => world.request(account, AccountAction::Thaw(parse_sides(sides))).to_owned(),
        [verb @ ("pay" | "decline"), id, from, to, amount, ..] => world
            .pay(&Pay {
                id: id.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
                amount_minor: minor(amount),
                fee_minor: option(words, "fee").map_or(0, minor),
                currency: currency.to_owned(),
                verdict: if verb == "pay" { Verdict::Accept } else { Verdict::Decline },
            })
            .to_owned(),
        ["deliver"] => {
            world.deliver_all();
            String::new()
        }
        ["balance", account] => {
            let account = &world.accounts()[account];
            money(account.posted_minor, &account.currency)
        }
        ["available", account] => {
            let account = &world.accounts()[account];
            money(i64::try_from(account.available_minor()).expect("fits 64 bits"), &account.currency)
        }
        ["entries", account] => world.entries_text(account),
        ["status", payment] => world.status_text(payment),
        ["alerts"] => world.alerts.iter().map(|alert| format!("{} {}", alert.code, alert.subject)).collect(),
        ["total", internal] => {
            let totals = world.internal_minor(&format!("{internal}."));
            money(i64::try_from(totals.get("EUR").copied().unwrap_or_default()).expect("fits 64 bits"), "EUR")
        }
        _ => panic!("no such line: {words:?}"),
    }
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
