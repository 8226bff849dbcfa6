//! Instances that come and go on real Kafka, and a group whose offsets are gone.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::time::{Duration, Instant};

use tidemill_runtime::broker::{Broker, Isolation, ProducerOptions, Reader, RecordBatch, TopicPartition};
use tidemill_runtime::kafka::wire::damage::Damage;
use tidemill_runtime::state_log::LogRecord;

use crate::kafka::{DEADLINE, Pipeline, TASKS, TICK};
use crate::tidemill::Started;

const ACCOUNTS: &str = "generate accounts --accounts 50";
/// What an instance that leaves may cost the tasks that it had. The fastest of several counts: the others say how busy the
/// machine is, and that none of them waited for the session.
const MOVE_MAX: Duration = Duration::from_secs(1);
const LEAVES_MAX: usize = 10;
const SLOW_MOVE_MAX: Duration = Duration::from_secs(30);
/// Longer than a restart takes on a busy machine, so that only a rebalance could move a task.
const LONG_SESSION: &str = "--set unit.main.session_timeout_ms=45000";

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new();
    pipeline.tidemill.run("apply --yes").text();
    pipeline.produce(ACCOUNTS, "accounts.requested.v1", "account");
    pipeline.tidemill.run("run --until-idle").text();
    pipeline
}

/// Who committed last, by task, as the state logs say: read on as they grow.
pub(crate) struct Owners<'a> {
    pipeline: &'a Pipeline,
    reader: Box<dyn Reader>,
    batch: RecordBatch,
    slots: Vec<String>,
}

impl<'a> Owners<'a> {
    pub(crate) fn of(pipeline: &'a Pipeline, broker: &dyn Broker) -> Self {
        let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader opens");
        for task in 0..TASKS {
            let log = TopicPartition::new(format!("{}.main.state", pipeline.name), task);
            reader.assign(&log, 0).expect("the log is there");
        }
        let slots = vec![String::new(); TASKS as usize];
        Self { pipeline, reader, batch: RecordBatch::default(), slots }
    }

    /// Waits until each of the instances owns as many tasks as stand beside it.
    pub(crate) fn wait_for(&mut self, wanted: &[(&str, usize)]) {
        let started_at = Instant::now();
        loop {
            let count = |instance: &str| {
                let slot = format!("{}-main-{instance}-0", self.pipeline.name);
                self.slots.iter().filter(|owner| **owner == slot).count()
            };
            if wanted.iter().all(|(instance, tasks)| count(instance) == *tasks) {
                return;
            }
            assert!(started_at.elapsed() < DEADLINE, "{:?} instead of {wanted:?}", self.slots);
            self.reader.poll(&mut self.batch, 1_000, TICK).expect("the broker answers");
            for index in 0..self.batch.len() {
                let record = self.batch.view(index, &[]);
                let checkpoint =
                    LogRecord::decode(record.key, record.value).and_then(|record| record.decode_checkpoint());
                if let Some(checkpoint) = checkpoint.expect("a record of the state log") {
                    self.slots[record.origin.partition as usize] = checkpoint.owner;
                }
            }
        }
    }
}

fn stop(started: Started) -> String {
    started.signal("TERM");
    let ended = started.ended();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.stderr
}

#[test]
fn tasks_of_an_instance_that_leaves_move_at_once() {
    const RECORDS: u64 = 2_400;
    let pipeline = pipeline();
    let mut owners = Owners::of(&pipeline, pipeline.broker().as_ref());
    std::thread::scope(|scope| {
        let records = pipeline.tidemill.run(&format!("generate -n {RECORDS} --accounts 50")).text();
        let topic = pipeline.topic("payments.requested.v1");
        let tidemill = &pipeline.tidemill;
        let lines = records.lines().count();
        let load = scope.spawn(move || tidemill.feed(&format!("produce {topic} --rate 40"), records.as_bytes()));
        let stays = pipeline.tidemill.start(&format!("run --instance b {LONG_SESSION}"));
        let mut moves = Vec::new();
        while moves.len() < LEAVES_MAX && moves.iter().min().is_none_or(|fastest| *fastest >= MOVE_MAX) {
            let leaves = pipeline.tidemill.start(&format!("run --instance a {LONG_SESSION}"));
            owners.wait_for(&[("a", 2), ("b", 2)]);
            let started_at = Instant::now();
            leaves.signal("TERM");
            owners.wait_for(&[("b", 4)]);
            moves.push(started_at.elapsed());
            assert_eq!(leaves.ended().code, Some(0));
        }
        println!("from the signal to the first commit of the new owner: {moves:?}");
        assert!(moves.iter().min() < Some(&MOVE_MAX) && moves.iter().max() < Some(&SLOW_MOVE_MAX), "{moves:?}");
        load.join().expect("the load was sent").text();
        stop(stays);
        pipeline.tidemill.run("run --until-idle").text();
        pipeline.assert_exact(lines as u64);
    });
}

#[test]
fn an_instance_that_stays_comes_back_unnoticed() {
    let pipeline = pipeline();
    let mut owners = Owners::of(&pipeline, pipeline.broker().as_ref());
    let restarted = format!("run --instance a --on-stop stay {LONG_SESSION}");
    let first = pipeline.tidemill.start(&restarted);
    owners.wait_for(&[("a", 4)]);
    let other = pipeline.tidemill.start(&format!("run --instance b --log info {LONG_SESSION}"));
    owners.wait_for(&[("a", 2), ("b", 2)]);

    stop(first);
    owners.wait_for(&[("a", 0), ("b", 2)]);
    let started_at = Instant::now();
    let second = pipeline.tidemill.start(&restarted);
    owners.wait_for(&[("a", 2), ("b", 2)]);
    println!("from its start to its first commits: {:?}", started_at.elapsed());
    pipeline.produce("generate -n 400 --accounts 50", "payments.requested.v1", "debit_account");
    let started_at = Instant::now();
    while pipeline.answers() < 300 {
        assert!(started_at.elapsed() < DEADLINE, "{} answers", pipeline.answers());
        std::thread::sleep(TICK);
    }
    let log = stop(other);
    let times = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(times("the group gives us tasks"), 1, "{log}");
    assert_eq!(times("the group takes tasks back"), 0, "{log}");
    stop(second);
    pipeline.tidemill.run("run --until-idle").text();
    pipeline.assert_exact(400);
}

/// Every input of the unit.
fn inputs(pipeline: &Pipeline) -> Vec<TopicPartition> {
    let status = pipeline.tidemill.run("status --json").json();
    let rows = status["inputs"].as_array().expect("a list").iter();
    rows.map(|row| {
        let partition = row["partition"].as_u64().and_then(|number| u32::try_from(number).ok()).expect("a partition");
        TopicPartition::new(row["topic"].as_str().expect("a name"), partition)
    })
    .collect()
}

/// Moves the group's offsets to 0, as a coordinator once did that lost them.
fn rewind(pipeline: &Pipeline, broker: &dyn Broker, group: &str, partitions: &[TopicPartition]) {
    let options =
        ProducerOptions::Transactional { id: format!("{}-rewind", pipeline.name), timeout: Duration::from_secs(10) };
    let mut producer = broker.producer(&options).expect("a producer opens");
    let offsets: Vec<(TopicPartition, u64)> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
    producer.begin().expect("a transaction begins");
    producer.send_group_offsets(group, &offsets, DEADLINE).expect("the broker does not fence this");
    producer.commit(DEADLINE).expect("the transaction commits");
}

#[test]
fn offsets_that_the_group_forgets_change_no_output() {
    const RECORDS: u64 = 1_500;
    let pipeline = pipeline();
    let broker = pipeline.broker();
    let damage = Damage::new(&pipeline.bootstrap).expect("an address");
    let group = format!("{}.main", pipeline.name);
    let inputs = inputs(&pipeline);
    let (deleted, rewound) = inputs.split_at(inputs.len() / 2);
    assert!(!deleted.is_empty(), "{inputs:?}");
    let generate = format!("generate -n {RECORDS} --accounts 50");
    let records = pipeline.produce(&generate, "payments.requested.v1", "debit_account").lines().count();

    // Under a running pipeline, which is then killed.
    let running = pipeline.tidemill.start("run --workers 2");
    for _ in 0..5 {
        damage.delete_offsets(&group, deleted).expect("the group is not subscribed to them");
        rewind(&pipeline, broker.as_ref(), &group, rewound);
    }
    pipeline.kill_at(running, RECORDS / 3);

    // At rest.
    damage.delete_offsets(&group, deleted).expect("the group is not subscribed to them");
    rewind(&pipeline, broker.as_ref(), &group, rewound);
    let found = broker.committed(&group, &inputs).expect("the group can be asked");
    assert_eq!(found, rewound.iter().map(|partition| (partition.clone(), 0)).collect::<Vec<_>>());
    let ended = pipeline.tidemill.run("run --workers 2 --until-idle");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let disagreements = |offset: &str| {
        let text = format!("\"group_offset\":\"{offset}\"");
        let lines = ended.stderr.lines().filter(|line| line.contains("group_offsets_disagree"));
        lines.filter(|line| line.contains(&text)).count()
    };
    assert_eq!(disagreements("none"), deleted.len(), "{}", ended.stderr);
    assert!(disagreements("0") > 0, "{}", ended.stderr);
    pipeline.assert_exact(records as u64);
}
