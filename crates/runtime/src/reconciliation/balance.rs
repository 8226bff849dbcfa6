//! One checkpoint, drawn up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_topology::plan::Unit;

use crate::task::checkpoint::{Checkpoint, REDRIVEN, RELEASED_RECORDS};

/// The code under which a difference is reported.
pub const RECORDS_UNACCOUNTED: &str = "records_unaccounted";

/// What became of the records of one input partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub unit: String,
    pub stage: String,
    pub topic: String,
    pub partition: u32,
    /// Read, by the offsets.
    pub taken: u64,
    pub posted: u64,
    pub applied: u64,
    /// Handed on to the next topic.
    pub passed: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub discarded: u64,
    /// Waiting behind a failed record.
    pub parked: u64,
    /// Dead letters that nobody has decided about.
    pub dead: u64,
    /// Written into the partition by stages and not taken in yet; `None` where others write into it.
    pub under_way: Option<u64>,
    /// What does not add up, in words.
    pub findings: Vec<String>,
    /// Records that the findings are about.
    pub unaccounted: u64,
}

/// Figures of one input, or of the records of it that came again by another way.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    all: u64,
    posted: u64,
    applied: u64,
    passed: u64,
    duplicate: u64,
    rejected: u64,
    discarded: u64,
    parked: u64,
    dead: u64,
}

impl Ended {
    fn of(figures: Option<&BTreeMap<String, u64>>) -> Self {
        let mut ended = Self::default();
        for (outcome, count) in figures.into_iter().flatten() {
            ended.all += count;
            let class = outcome.split_once(':').map_or(outcome.as_str(), |(class, _code)| class);
            match class {
                "posted" => ended.posted += count,
                "applied" => ended.applied += count,
                "passed" => ended.passed += count,
                "duplicate" => ended.duplicate += count,
                "rejected" => ended.rejected += count,
                "discarded" => ended.discarded += count,
                "parked" => ended.parked += count,
                "dead" => ended.dead += count,
                _ => {}
            }
        }
        ended
    }

    fn sum(of: [Self; 3], figure: impl Fn(&Self) -> u64) -> u64 {
        of.iter().map(figure).sum()
    }
}

impl Balance {
    /// Notes that `left` and `right`, which should be the same, are not.
    fn compare(&mut self, left: u64, right: u64, message: impl FnOnce(u64) -> String) {
        let difference = left.abs_diff(right);
        if difference > 0 {
            self.unaccounted += difference;
            self.findings.push(message(difference));
        }
    }

    pub(super) fn find(&mut self, unaccounted: u64, message: String) {
        self.unaccounted += unaccounted;
        self.findings.push(message);
    }
}

/// The inputs of a task as its checkpoint says, and the unit's redrive topic if it has been read.
pub fn balances(unit: &Unit, redrive_topic: &str, task: u32, checkpoint: &Checkpoint) -> Vec<Balance> {
    let mut balances = Vec::new();
    let mut redriven = 0;
    for stage in &unit.stages {
        for input in &stage.inputs {
            let name = format!("{}/{}", stage.name, input.topic);
            let figures = |suffix: &str| Ended::of(checkpoint.figures.get(&format!("{name}{suffix}")));
            let ways = [figures(""), figures(REDRIVEN), figures(RELEASED_RECORDS)];
            redriven += ways[1].all;
            balances.push(of_input(&stage.name, &input.topic, ways, checkpoint));
        }
    }
    if let Some(taken) = checkpoint.tally.taken.get(redrive_topic) {
        let mut balance =
            Balance { topic: redrive_topic.to_owned(), taken: taken.records, passed: redriven, ..Balance::default() };
        balance.compare(taken.records, redriven + taken.decisions, |count| {
            format!("{count} records that were sent back have {}", no_outcome(taken.missed))
        });
        balances.push(balance);
    }
    for balance in &mut balances {
        balance.unit.clone_from(&unit.name);
        balance.partition = task;
    }
    balances
}

fn of_input(stage: &str, topic: &str, ways: [Ended; 3], checkpoint: &Checkpoint) -> Balance {
    let [first, redriven, released] = ways;
    let name = format!("{stage}/{topic}");
    let taken = checkpoint.tally.taken.get(topic).cloned().unwrap_or_default();
    let aside = checkpoint.tally.set_aside.get(&name).copied().unwrap_or_default();
    let (dead, parked) = (Ended::sum(ways, |way| way.dead), Ended::sum(ways, |way| way.parked));
    let mut balance = Balance {
        stage: stage.to_owned(),
        topic: topic.to_owned(),
        taken: taken.records,
        posted: Ended::sum(ways, |way| way.posted),
        applied: Ended::sum(ways, |way| way.applied),
        passed: Ended::sum(ways, |way| way.passed),
        duplicate: Ended::sum(ways, |way| way.duplicate),
        rejected: Ended::sum(ways, |way| way.rejected),
        discarded: Ended::sum(ways, |way| way.discarded),
        parked: parked.saturating_sub(released.all),
        dead: dead.saturating_sub(redriven.all),
        ..Balance::default()
    };
    balance.compare(taken.records, first.all, |count| {
        if taken.records > first.all {
            format!("{count} records were read and have {}", no_outcome(taken.missed))
        } else {
            format!("{count} outcomes belong to no record that was read")
        }
    });
    balance.compare(dead, aside.dead_letters, |_| {
        format!("{dead} records ended as dead letters, and {} were written", aside.dead_letters)
    });
    balance
        .compare(parked, aside.parked, |_| format!("{parked} records were parked, and {} were written", aside.parked));
    let waiting = parked.saturating_sub(released.all);
    balance.compare(waiting, aside.waiting, |_| {
        format!("{waiting} records should wait behind failed ones, and {} do by the state", aside.waiting)
    });
    balance
}

fn no_outcome(missed: Option<(u64, u64)>) -> String {
    match missed {
        Some((from, until)) => format!("no outcome, the first of them from offset {from} to {}", until - 1),
        None => "no outcome".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tidemill_topology::plan::{CommitPolicy, Input, OnError, ParkingLimits, Stage};

    use super::*;
    use crate::reconciliation::{SetAside, Taken};

    fn unit() -> Unit {
        let input = Input {
            topic: "t".to_owned(),
            chain: Vec::new(),
            output: None,
            dead_letters: "t.dlq".to_owned(),
            parked: None,
        };
        let stage = Stage {
            name: "s".to_owned(),
            on_error: OnError::Park,
            parking: ParkingLimits { keys_max: 1, records_per_key_max: 1, age_s_max: 1 },
            circuit: None,
            inputs: vec![input],
            ports: BTreeMap::new(),
            references: Vec::new(),
        };
        let commit = CommitPolicy {
            gap_ms_min: 1,
            interval_ms_max: 1,
            records_max: 1,
            bytes_max: 1,
            transaction_timeout_ms: 1,
            session_timeout_ms: 1,
        };
        Unit { name: "u".to_owned(), tasks: 1, standbys: 0, commit, stages: vec![stage] }
    }

    /// Words are `name=count`; `@` and `#` stand before what was redriven and released, `in`, `back` and `told` are taken
    /// records, those of the redrive topic and decisions among them, `letters`, `aside` and `waiting` what was set aside.
    fn checkpoint(text: &str) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        let mut aside = SetAside::default();
        let (mut taken, mut back) = (Taken::default(), Taken::default());
        for word in text.split(' ') {
            let (name, count) = word.split_once('=').expect("a name and a count");
            let count: u64 = count.parse().expect("a count");
            match name {
                "in" => taken.records = count,
                "back" => back.records = count,
                "told" => back.decisions = count,
                "letters" => aside.dead_letters = count,
                "aside" => aside.parked = count,
                "waiting" => aside.waiting = count,
                outcome => {
                    let (suffix, outcome) = match outcome.split_at(1) {
                        ("@", outcome) => (REDRIVEN, outcome),
                        ("#", outcome) => (RELEASED_RECORDS, outcome),
                        _ => ("", outcome),
                    };
                    checkpoint.figures.entry(format!("s/t{suffix}")).or_default().insert(outcome.to_owned(), count);
                }
            }
        }
        checkpoint.tally.taken = [("t".to_owned(), taken), ("back".to_owned(), back)].into();
        checkpoint.tally.set_aside.insert("s/t".to_owned(), aside);
        checkpoint
    }

    #[test]
    fn a_checkpoint_adds_up_or_says_what_does_not() {
        let table = [
            ("in=9 posted=4 rejected:a=2 rejected:b=1 duplicate=1 passed=1", ""),
            ("in=5 posted=3 dead:bug=1 letters=1 parked=1 aside=1 waiting=1", ""),
            ("in=5 posted=3 dead:bug=1 letters=1 parked=1 aside=1 waiting=0 back=1 @posted=1 #posted=1", ""),
            ("in=2 dead:bug=2 letters=3 back=3 told=1 @dead:bug=1 @discarded=1", ""),
            ("in=5 posted=4", "1 records were read and have no outcome"),
            ("in=4 posted=5", "1 outcomes belong to no record that was read"),
            ("in=4 posted=3 dead:bug=1", "1 records ended as dead letters, and 0 were written"),
            ("in=4 posted=3 parked=1 waiting=1", "1 records were parked, and 0 were written"),
            ("in=4 posted=3 parked=1 aside=1", "1 records should wait behind failed ones, and 0 do by the state"),
            ("in=1 dead:bug=1 letters=1 back=2 @posted=1", "1 records that were sent back have no outcome"),
        ];
        for (text, expected) in table {
            let found = balances(&unit(), "back", 0, &checkpoint(text));
            let findings: Vec<_> = found.iter().flat_map(|balance| &balance.findings).map(String::as_str).collect();
            assert_eq!(findings.join("; "), expected, "{text}");
            let input = &found[0];
            if expected.is_empty() {
                let ended = input.posted + input.rejected + input.duplicate + input.passed + input.discarded;
                assert_eq!(input.taken, ended + input.parked + input.dead, "{text}: {input:?}");
            }
        }
    }

    #[test]
    fn what_was_missed_is_told_from_what_holds_no_record() {
        let mut taken = Taken::default();
        taken.pass(0, 0, 0);
        taken.pass(1, 4, 3);
        // A reader that began earlier has passed over what the task had.
        taken.pass(5, 5, 2);
        assert_eq!((taken.records, taken.missed), (3, None));
        taken.pass(6, 9, 1);
        assert_eq!((taken.records, taken.missed), (6, Some((6, 9))));
    }
}
