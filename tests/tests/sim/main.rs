//! The worker loop of production under simulated time, network, disks and crashes, thousands of times, each run
//! repeatable from its seed.

mod check;
mod disk;
mod faults;
mod ledger;
mod network;
mod observer;
mod process;
mod run;
mod scheduler;
mod trace;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tidemill_runtime::conformance::printed_seed;

use crate::faults::FaultSet;
use crate::run::{Plan, Recording, World};
use crate::scheduler::Coroutines;

#[test]
fn one_seed_is_one_run() {
    let first = printed_seed();
    let mut coroutines = Coroutines::default();
    for world in World::ALL {
        for seed in first..first + 20 {
            let plan = Plan { seed, world, faults: FaultSet::ALL, recording: Recording::Off };
            let once = plan.run(&mut coroutines);
            let again = Plan { recording: Recording::On, ..plan }.run(&mut coroutines);
            assert_eq!((once.events, once.turns, once.took), (again.events, again.turns, again.took), "seed {seed}");
            assert_eq!(once.hash, again.hash, "seed {seed} of {} went two ways", world.name());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let first = printed_seed();
    let count = number("TIDEMILL_SIM_SEEDS").unwrap_or(1_000);
    let faults = std::env::var("TIDEMILL_SIM_FAULTS").map_or(FaultSet::ALL, |text| FaultSet::parse(&text));
    for world in World::ALL {
        let started_at = Instant::now();
        let (next, turns, failed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut coroutines = Coroutines::default();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count || failed.lock().is_ok_and(|failed| failed.len() > 4) {
                            break;
                        }
                        let plan = Plan { seed: first.wrapping_add(index), world, faults, recording: Recording::Off };
                        let ran = plan.run(&mut coroutines);
                        turns.fetch_add(ran.turns, Ordering::Relaxed);
                        if !ran.findings.is_empty() {
                            failed.lock().expect("no panic here").push((plan, ran.findings));
                        }
                    }
                });
            }
        });
        println!(
            "{}: {count} seeds, {} turns, {:?}",
            world.name(),
            turns.load(Ordering::Relaxed),
            started_at.elapsed()
        );
        let failed = failed.into_inner().expect("no panic here");
        for (plan, findings) in &failed {
            println!("seed {} {}", plan.seed, findings.join("\n    "));
        }
        if let Some((plan, _)) = failed.first() {
            let ran = Plan { recording: Recording::On, ..*plan }.run(&mut Coroutines::default());
            std::fs::write("/tmp/t-sim/trace.txt", ran.lines.join("\n")).expect("trace");
        }
        assert!(failed.is_empty());
    }
}
