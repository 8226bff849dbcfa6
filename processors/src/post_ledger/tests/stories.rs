//! Stories: what is asked in the language of `script.rs`, and below it every entry the ledger made of it.
//!
//! `UPDATE_GOLDEN=1` writes the lower part anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::script::play_with;
use super::world::{World, money};

const LEDGER: &str = "\n--- ledger\n";

#[test]
fn every_story_ends_in_its_ledger() {
    let mut stories = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a story can be read");
        let (story, golden) = text.split_once(LEDGER).unwrap_or((&text, ""));
        let story = story.trim_end();
        let (settings, script): (Vec<&str>, Vec<&str>) = story.lines().partition(|line| line.starts_with("settings "));
        let settings: Vec<&str> = settings.into_iter().map(|line| &line["settings ".len()..]).collect();
        let world = play_with(&settings.join("\n"), &script.join("\n"));
        let ledger = ledger(&world);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{story}\n{LEDGER}{ledger}")).expect("a story can be written");
        } else {
            assert_eq!(golden, ledger, "{}: UPDATE_GOLDEN=1 if it is meant", path.display());
        }
        stories += 1;
    }
    assert!(stories >= 25, "only {stories} stories are left");
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/post_ledger/tests/stories");
    let entries = std::fs::read_dir(folder).expect("the stories are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("can be listed").path()).collect();
    paths.sort();
    paths
}

/// Account by account: balance, then number, kind, change, balance and holds after, contra account and payment of each
/// entry. Internal accounts are added up over the tasks.
fn ledger(world: &World) -> String {
    let mut text = String::new();
    let accounts = world.accounts();
    for (id, account) in accounts.iter().filter(|(_, account)| !account.is_internal()) {
        let money = |minor| money(minor, account.currency.as_str());
        let [posted, held, expected] =
            [account.posted_minor, account.pending_minor, account.pending_in_minor].map(money);
        let closed = if account.closed { ", closed" } else { "" };
        writeln!(text, "{id}: posted {posted}, held {held}, expected {expected}{closed}").expect("strings take all");
        for entry in world.entries.get(id).into_iter().flatten() {
            let kind = format!("{:?}", entry.kind).to_lowercase();
            let moved = if entry.amount_minor == 0 { entry.hold_minor } else { entry.amount_minor };
            let contra = entry.contra_account_id.split('.').next().unwrap_or_default();
            let reference = entry.reference.as_ref().map(|id| format!(" of {id}")).unwrap_or_default();
            let [moved, after, pending] = [moved, entry.balance_after_minor, entry.pending_after_minor].map(money);
            writeln!(
                text,
                "  {:>2} {kind:<7} {moved:>9} = {after:>9} held {pending:>7}  {contra:<10} {} {}{reference}",
                entry.seq,
                entry.payment_type.name(),
                entry.payment_id
            )
            .expect("strings take all");
        }
    }
    for name in ["fees", "suspense", "fx_position", "fx_spread"] {
        for (currency, minor) in world.internal_minor(&format!("{name}.")) {
            let minor = i64::try_from(minor).expect("fits 64 bits");
            writeln!(text, "{name}: {} {currency}", money(minor, &currency)).expect("strings take all");
        }
    }
    for alert in &world.alerts {
        writeln!(text, "alert: {} {}", alert.code, alert.subject).expect("strings take all");
    }
    text
}
