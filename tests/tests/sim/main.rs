//! The worker loop of production under simulated time, network, disks and crashes, thousands of times, each run
//! repeatable from its seed.
//!
//! - `TIDEMILL_SEED`: the first seed. `TIDEMILL_SIM_SEEDS`: how many.
//! - `TIDEMILL_SIM_WORLD`, `TIDEMILL_SIM_FAULTS`: only this broker, only these faults.

mod adversary;
mod bugs;
mod check;
mod disk;
mod faults;
mod ledger;
mod network;
mod observer;
mod operator;
mod process;
mod producer;
mod run;
mod scheduler;
mod search;
mod time;
mod trace;

use std::time::Instant;

use tidemill_runtime::conformance::printed_seed;

use crate::faults::FaultSet;
use crate::run::{Plan, Recording, World};
use crate::scheduler::Coroutines;

/// Runs per world, unless the environment says how many.
const SEEDS: u64 = 1_000;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn worlds() -> Vec<World> {
    variable("TIDEMILL_SIM_WORLD").map_or(World::ALL.to_vec(), |text| vec![World::parse(&text)])
}

fn faults() -> FaultSet {
    variable("TIDEMILL_SIM_FAULTS").map_or(FaultSet::STOOD, |text| FaultSet::parse(&text))
}

#[test]
fn one_seed_is_one_run() {
    let first = printed_seed();
    let mut coroutines = Coroutines::default();
    for world in worlds() {
        for seed in (first..).take(10) {
            let plan = Plan { seed, world, faults: faults(), recording: Recording::Off, bug: None };
            let once = plan.run(&mut coroutines);
            let again = Plan { recording: Recording::On, ..plan }.run(&mut coroutines);
            let shape = |ran: &run::Ran| (ran.events, ran.turns, ran.took, ran.hash);
            assert_eq!(shape(&once), shape(&again), "seed {seed} of {} went two ways", world.name());
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let first = printed_seed();
    let count = variable("TIDEMILL_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number of seeds"));
    for world in worlds() {
        let started_at = Instant::now();
        let found =
            search::search(Plan { seed: first, world, faults: faults(), recording: Recording::Off, bug: None }, count);
        println!(
            "{}: {} seeds from {first}, {} turns, {:.1?}",
            world.name(),
            found.seeds,
            found.turns,
            started_at.elapsed()
        );
        if let Some(failure) = found.failure {
            panic!("{}", search::report(failure));
        }
    }
}
