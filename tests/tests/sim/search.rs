//! Tries seeds on two cores until one fails, and says about that one what can be said.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::run::{Plan, Ran, Recording};
use crate::scheduler::Coroutines;

const THREADS: usize = 2;
/// Lines of the trace that are shown; all are in the file.
const TAIL_LINES: usize = 60;
const FINDINGS_SHOWN: usize = 12;

pub(crate) struct Found {
    pub(crate) seeds: u64,
    pub(crate) turns: u64,
    /// The failure with the lowest seed among those that were tried.
    pub(crate) failure: Option<Failure>,
}

pub(crate) struct Failure {
    pub(crate) plan: Plan,
    pub(crate) findings: Vec<String>,
}

/// Runs `count` seeds from the plan's on, or until one fails.
pub(crate) fn search(first: Plan, count: u64) -> Found {
    let (next, turns, seeds) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let has_failed = || !failures.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
    let work = || {
        let mut coroutines = Coroutines::default();
        while !has_failed() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let plan = Plan { seed: first.seed.wrapping_add(index), ..first };
            let Ran { findings, turns: took, .. } = plan.run(&mut coroutines);
            turns.fetch_add(took, Ordering::Relaxed);
            seeds.fetch_add(1, Ordering::Relaxed);
            if !findings.is_empty() {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(Failure { plan, findings });
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.plan.seed.wrapping_sub(first.seed));
    let failure = if failures.is_empty() { None } else { Some(failures.swap_remove(0)) };
    Found { seeds: seeds.into_inner(), turns: turns.into_inner(), failure }
}

/// Takes kinds of faults away one after another, as long as the same seed still fails.
fn shrink(mut failure: Failure, coroutines: &mut Coroutines) -> Failure {
    for fault in failure.plan.faults.iter() {
        let plan = Plan { faults: failure.plan.faults.without(fault), ..failure.plan };
        let findings = plan.run(coroutines).findings;
        if !findings.is_empty() {
            failure = Failure { plan, findings };
        }
    }
    failure
}

/// What failed, how to see it again, and the last steps before the end.
pub(crate) fn report(failure: Failure) -> String {
    let mut coroutines = Coroutines::default();
    let Failure { plan, findings: first } = failure;
    let Failure { plan, findings } = shrink(Failure { plan, findings: first.clone() }, &mut coroutines);
    let lines = Plan { recording: Recording::On, ..plan }.run(&mut coroutines).lines;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{}-{}.txt", plan.world.name(), plan.seed));
    let written = std::fs::write(&path, lines.join("\n"));
    let mut text = format!("seed {} fails on {}\n", plan.seed, plan.world.name());
    let mut line = |line: &str| {
        let _infallible = writeln!(text, "{line}");
    };
    line(&format!("with all faults, {} findings:", first.len()));
    first.iter().take(FINDINGS_SHOWN).for_each(|finding| line(&format!("  {finding}")));
    line(&format!("with the faults [{}], {} findings:", plan.faults, findings.len()));
    findings.iter().take(FINDINGS_SHOWN).for_each(|finding| line(&format!("  {finding}")));
    line("again:");
    line(&format!(
        "  TIDEMILL_SEED={} TIDEMILL_SIM_SEEDS=1 TIDEMILL_SIM_WORLD={} TIDEMILL_SIM_FAULTS={} cargo test -p tidemill-tests --test sim nothing",
        plan.seed,
        plan.world.name(),
        plan.faults
    ));
    match written {
        Ok(()) => line(&format!("trace: {} lines in {}, the last:", lines.len(), path.display())),
        Err(error) => line(&format!("trace: {} lines, not kept: {error}; the last:", lines.len())),
    }
    lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).for_each(|last| line(&format!("  {last}")));
    text
}
