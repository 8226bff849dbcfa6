//! The tester is tested: bugs are put into the engine one at a time, and each has to be caught.

use std::fmt::Write as _;
use std::path::Path;

use tidemill_runtime::sabotage::Bug;

use crate::faults::FaultSet;
use crate::run::{Plan, Recording, World};
use crate::search::{self, Failure};

/// Runs after which a bug counts as not caught.
const SEEDS_MAX: u64 = 600;
/// The same runs each time, so that the table says the same until the engine changes.
const FIRST_SEED: u64 = 1;

const PAGE: &str = "../docs/reference/injected-bugs.md";

/// How a bug was caught in one world.
struct Caught {
    /// The checker that speaks first.
    checker: String,
    seeds: u64,
}

fn catch(bug: Bug, world: World) -> Option<Caught> {
    let plan = Plan { seed: FIRST_SEED, world, faults: FaultSet::STOOD, recording: Recording::Off, bug: Some(bug) };
    let Failure { plan, findings } = search::search(plan, SEEDS_MAX).failure?;
    let checker = findings.first()?.split(':').next().unwrap_or_default().to_owned();
    Some(Caught { checker, seeds: plan.seed - FIRST_SEED + 1 })
}

fn row(bug: Bug, caught: &[Option<Caught>]) -> String {
    let mut row = format!("| `{}` | {} |", bug.name(), bug.what());
    for caught in caught {
        let _infallible = match caught {
            Some(Caught { checker, seeds }) => write!(row, " {checker} | {seeds} |"),
            None => write!(row, " not caught | {SEEDS_MAX} |"),
        };
    }
    row
}

#[test]
fn every_injected_bug_is_caught() {
    let mut table = vec![
        "| bug | what the engine does wrong | embedded | seeds | kafka | seeds |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let caught = World::ALL.map(|world| catch(*bug, world));
        if caught.iter().all(Option::is_none) {
            missed.push(bug.name());
        }
        let row = row(*bug, &caught);
        println!("{row}");
        table.push(row);
    }
    compare_with_page(&table);
    assert!(missed.is_empty(), "nothing catches {}", missed.join(", "));
}

/// The page names every bug and what it does. How many seeds it took is as measured when the page was written.
fn compare_with_page(table: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page about injected bugs");
    let (before, rest) = page.split_once("| bug |").expect("a table on the page");
    let after = rest.find("\n\n").map_or("", |end| &rest[end..]);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{}{after}", table.join("\n"))).expect("the page can be written");
        return;
    }
    for bug in Bug::ALL {
        let start = format!("| `{}` | {} |", bug.name(), bug.what());
        assert!(page.contains(&start), "{PAGE} lacks a row: run this test with UPDATE_GOLDEN=1");
    }
}
