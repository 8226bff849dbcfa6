//! The tester is tested: bugs are put into the engine one at a time, and each has to be caught.

use std::fmt::Write as _;
use std::path::Path;

use tidemill_runtime::sabotage::Bug;

use crate::faults::FaultSet;
use crate::run::{Plan, Recording, World};
use crate::search::{self, Failure};

/// Runs after which a bug counts as not caught, when the table is written.
const SEEDS_MAX: u64 = 600;
/// Runs within which one of the worlds has to catch it, each time.
const SEEDS_ALLOWED: u64 = 2_000;
/// Runs of one world before the other has its turn.
const SEEDS_PER_TURN: u64 = 100;
/// The same runs each time, so that the table says the same until the engine changes.
const FIRST_SEED: u64 = 1;

const PAGE: &str = "../docs/reference/injected-bugs.md";

/// How a bug was caught in one world.
struct Caught {
    /// The checker that speaks first.
    checker: String,
    seeds: u64,
}

fn catch(bug: Bug, world: World, seeds: u64) -> Option<Caught> {
    catch_from(FIRST_SEED, bug, world, seeds)
}

/// By whichever world is first.
fn catch_anywhere(bug: Bug) -> Option<(World, Caught)> {
    let turns = (FIRST_SEED..FIRST_SEED + SEEDS_ALLOWED).step_by(SEEDS_PER_TURN as usize);
    let mut turns = turns.flat_map(|first| World::ALL.map(|world| (first, world)));
    turns.find_map(|(first, world)| Some((world, catch_from(first, bug, world, SEEDS_PER_TURN)?)))
}

fn catch_from(first: u64, bug: Bug, world: World, seeds: u64) -> Option<Caught> {
    let plan = Plan { seed: first, world, faults: FaultSet::STOOD, recording: Recording::Off, bug: Some(bug) };
    let Failure { plan, findings } = search::search(plan, seeds).failure?;
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page about injected bugs");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, with_table(&page)).expect("the page can be written");
        return;
    }
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let start = format!("| `{}` | {} |", bug.name(), bug.what());
        assert!(page.contains(&start), "{PAGE} lacks `{}`: run this test with UPDATE_GOLDEN=1", bug.name());
        match catch_anywhere(*bug) {
            Some((world, Caught { checker, seeds })) => {
                println!("{:26} {:9} {checker:18} {seeds} seeds", bug.name(), world.name());
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "nothing catches {}", missed.join(", "));
}

/// What is lost is missed by those who draw up the books while it happens, before anybody else could know.
#[test]
fn a_loss_is_found_by_the_reconciliation() {
    for bug in [Bug::LoseRecord, Bug::LoseOutput] {
        for world in World::ALL {
            let Caught { checker, seeds } = catch(bug, world, SEEDS_PER_TURN).expect("it is caught");
            assert_eq!(checker, "reconciliation", "{} on {} after {seeds} runs", bug.name(), world.name());
        }
    }
}

/// The page with the table as it is measured now.
fn with_table(page: &str) -> String {
    let (before, rest) = page.split_once("| bug |").expect("a table on the page");
    let after = rest.find("\n\n").map_or("", |end| &rest[end..]);
    let mut table = vec![
        "| bug | what the engine does wrong | embedded | seeds | kafka | seeds |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for bug in Bug::ALL {
        let row = row(*bug, &World::ALL.map(|world| catch(*bug, world, SEEDS_MAX)));
        println!("{row}");
        table.push(row);
    }
    format!("{before}{}{after}", table.join("\n"))
}
