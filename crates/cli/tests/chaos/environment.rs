//! What happens around the workers: a seeded schedule of incidents on broker, databases, network and disk.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::disk::SmallDisk;
use crate::proxy::{Direction, EndTxn, Mode, Proxy};
use crate::stack::Stack;
use crate::verification::Verification;

const TICK: Duration = Duration::from_millis(50);
/// Between two incidents. Workers are hit on a schedule of their own meanwhile.
const QUIET_MS: std::ops::Range<u64> = 1_000..6_000;
/// An outcome that comes this long after an incident has ended says that a stall may still be its doing.
const AFTERMATH_MS: i64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill(&'static str),
    /// Stopped in good order and started again.
    Restart(&'static str),
    /// Every connection of the workers is cut, once.
    Cut,
    Network(Mode),
    DiskFull,
}

/// Whatever can happen.
const KINDS: [Kind; 14] = [
    Kind::Kill("kafka"),
    Kind::Restart("kafka"),
    Kind::Kill("postgres"),
    Kind::Kill("redis"),
    Kind::Cut,
    Kind::DiskFull,
    Kind::Network(Mode::Gone),
    Kind::Network(Mode::Delay(Duration::from_millis(60))),
    Kind::Network(Mode::Stall(Direction::Requests)),
    Kind::Network(Mode::Stall(Direction::Answers)),
    Kind::Network(Mode::EndTxn(EndTxn::LoseAnswer)),
    Kind::Network(Mode::EndTxn(EndTxn::DelayAnswer(Duration::from_millis(1_500)))),
    Kind::Network(Mode::EndTxn(EndTxn::DoubleAnswer)),
    Kind::Network(Mode::EndTxn(EndTxn::HoldRequest(Duration::from_secs(17)))),
];

#[derive(Clone, Debug)]
pub(crate) struct Incident {
    what: String,
    began_unix_ms: i64,
    ended_unix_ms: i64,
}

impl Incident {
    /// From the end of the incident until every task had outcomes again, as far as it had stopped. Where something else
    /// happened before that, it counts from the end of the last.
    pub(crate) fn resumed_ms(&self, verdict: &Value, all: &[Self]) -> i64 {
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        let started = number(&verdict["started_unix_ms"]);
        let stalls = verdict["stalls"].as_array().into_iter().flatten();
        let times = stalls.map(|stall| (started + number(&stall["from_ms"]), started + number(&stall["until_ms"])));
        let touching = times.filter(|(from, until)| {
            *until > self.began_unix_ms && *from < self.ended_unix_ms.saturating_add(AFTERMATH_MS)
        });
        let faults = verdict["faults"].as_array().into_iter().flatten();
        let faults = faults.map(|fault| started + number(&fault["ended_ms"]));
        let ends: Vec<i64> = all.iter().map(|one| one.ended_unix_ms).chain(faults).collect();
        let last_before = |until: i64| ends.iter().copied().filter(|end| *end < until).max().unwrap_or(until);
        let times = touching.map(|(_, until)| until - last_before(until).max(self.ended_unix_ms));
        times.max().unwrap_or(0).max(0)
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} for {} ms", self.what, self.ended_unix_ms - self.began_unix_ms)
    }
}

pub(crate) struct Environment<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) proxy: &'a Proxy,
    pub(crate) disk: Option<&'a SmallDisk>,
}

impl Environment<'_> {
    /// Incidents for as long as the load runs. Every kind comes before any comes again.
    pub(crate) fn run(
        &self,
        mut verification: Verification,
        seed: u64,
        time: Duration,
    ) -> (Vec<Incident>, Verification) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut kinds: Vec<Kind> = Vec::new();
        let mut incidents = Vec::new();
        verification.wait_until_loaded();
        let started_at = Instant::now();
        loop {
            let quiet = Duration::from_millis(random.random_range(QUIET_MS));
            let quiet_since = Instant::now();
            while quiet_since.elapsed() < quiet {
                if started_at.elapsed() + quiet > time || verification.has_ended() {
                    return (incidents, verification);
                }
                std::thread::sleep(TICK);
            }
            if kinds.is_empty() {
                kinds = KINDS.to_vec();
                kinds.shuffle(&mut random);
            }
            let Some(kind) = kinds.pop() else { continue };
            let lasts = Duration::from_millis(random.random_range(1_000..4_000));
            if let Some(incident) = self.make(kind, lasts) {
                println!("  {incident}");
                incidents.push(incident);
            }
        }
    }

    fn make(&self, kind: Kind, lasts: Duration) -> Option<Incident> {
        let began_unix_ms = unix_ms();
        match kind {
            Kind::Kill(component) => {
                self.stack.kill(component);
                std::thread::sleep(lasts / 2);
                self.stack.up();
            }
            Kind::Restart(component) => {
                self.stack.stop(component);
                self.stack.up();
            }
            Kind::Cut => self.proxy.cut(),
            Kind::Network(mode) => {
                self.proxy.set(mode);
                std::thread::sleep(lasts);
                self.proxy.set(Mode::Pass);
            }
            Kind::DiskFull => {
                let disk = self.disk?;
                disk.fill();
                std::thread::sleep(lasts);
                disk.relieve();
            }
        }
        Some(Incident { what: format!("{kind:?}"), began_unix_ms, ended_unix_ms: unix_ms() })
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
