//! The embedded broker: the suite for brokers, and what only it promises: survival on disk, one process, read-only views.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{
    Broker, BrokerErrorKind, Isolation, MemberOptions, NewTopic, Outgoing, ProducerOptions, RecordBatch, TopicPartition,
};
use tidemill_runtime::conformance::broker::BrokerUnderTest;
use tidemill_runtime::conformance::{Random, broker};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions, OpenError, SyncPolicy};

const DEADLINE: Duration = Duration::from_secs(10);
const CHILD_DIRECTORY: &str = "TIDEMILL_TEST_CHILD_DIRECTORY";

/// Small segments, so that every test crosses some.
fn options() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes_max: 4_096, ..EmbeddedOptions::default() }
}

fn open(directory: &Path) -> Arc<EmbeddedBroker> {
    EmbeddedBroker::open(directory, options()).expect("the broker opens")
}

fn create(broker: &EmbeddedBroker, name: &str, partitions: u32) {
    let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, config: Default::default() };
    broker.create_topic(&topic).expect("the topic is new");
}

/// Commits one transaction: `number` to both partitions of `out`, and the position of group `g` behind it.
fn commit(broker: &EmbeddedBroker, number: u64) -> tidemill_runtime::broker::Result<()> {
    let options = ProducerOptions::Transactional { id: "writer".to_owned(), timeout: DEADLINE };
    let mut producer = broker.producer(&options)?;
    producer.begin()?;
    let value = number.to_string();
    for partition in 0..2 {
        let value = Some(value.as_bytes());
        let record = Outgoing { topic: "out", partition, timestamp_ms: 0, key: None, value, headers: &[] };
        producer.send(&record)?;
    }
    producer.send_group_offsets("g", &[(TopicPartition::new("out", 0), number + 1)], DEADLINE)?;
    producer.commit(DEADLINE)
}

fn values(broker: &EmbeddedBroker, partition: u32) -> Vec<String> {
    let partition = TopicPartition::new("out", partition);
    let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader opens");
    reader.assign(&partition, 0).expect("the partition exists");
    let mut values = Vec::new();
    let mut batch = RecordBatch::default();
    while !reader.reached_end(&partition) {
        reader.poll(&mut batch, 100, Duration::ZERO).expect("the poll works");
        let value = |index| String::from_utf8_lossy(batch.view(index, &[]).value.unwrap_or_default()).into_owned();
        values.extend((0..batch.len()).map(value));
    }
    values
}

/// Asserts that the broker holds the transactions before `count`, each of them whole.
fn assert_holds(broker: &EmbeddedBroker, count: u64) {
    let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    for partition in 0..2 {
        assert_eq!(values(broker, partition), expected, "partition {partition}");
    }
    let position = broker.committed("g", &[TopicPartition::new("out", 0)]).expect("positions are told");
    assert_eq!(position.first().map(|(_, offset)| *offset).unwrap_or_default(), count);
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("journal")).expect("the journal is a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    paths.sort();
    paths
}

#[test]
fn passes_the_suite_for_brokers() {
    let directories = tempfile::tempdir().expect("a directory");
    broker::run(&|| {
        let directory = tempfile::tempdir_in(directories.path()).expect("a directory").keep();
        BrokerUnderTest {
            broker: open(&directory),
            prefix: "suite".to_owned(),
            session_timeout: Duration::from_millis(300),
            deadline: DEADLINE,
        }
    });
}

#[test]
fn what_is_committed_survives_a_drop() {
    for sync in [SyncPolicy::OsBuffered, SyncPolicy::EveryCommit] {
        let directory = tempfile::tempdir().expect("a directory");
        let options = || EmbeddedOptions { sync, ..options() };
        for round in 0..4 {
            let broker = EmbeddedBroker::open(directory.path(), options()).expect("the broker opens");
            if round == 0 {
                create(&broker, "out", 2);
            }
            assert_holds(&broker, round * 50);
            for number in 0..50 {
                commit(&broker, round * 50 + number).expect("it commits");
            }
        }
        assert!(segments(directory.path()).len() > 2, "the journal has several segments");
    }
}

#[test]
fn topics_survive_a_drop_and_stay_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    create(&broker, "out", 2);
    create(&broker, "gone", 3);
    commit(&broker, 0).expect("it commits");
    broker.delete_topic("gone").expect("it exists");
    drop(broker);
    let broker = open(directory.path());
    let topics: Vec<_> = broker.topics().expect("topics are listed");
    assert_eq!(topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect::<Vec<_>>(), [("out", 2)]);
    broker.delete_topic("out").expect("it exists");
    create(&broker, "out", 2);
    drop(broker);
    assert_holds(&open(directory.path()), 0);
}

/// What the child of the next test does: commits until it is killed, and says after each commit that it is done.
#[test]
fn child_that_writes() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let broker = open(Path::new(&directory));
    let first = values(&broker, 0).len() as u64;
    for number in first.. {
        commit(&broker, number).expect("it commits");
        let mut out = std::io::stdout().lock();
        out.write_all(b"#").and_then(|()| out.flush()).expect("the parent listens");
    }
}

#[test]
fn what_is_committed_survives_kill_9() {
    let mut random = Random::printed();
    let directory = tempfile::tempdir().expect("a directory");
    create(&open(directory.path()), "out", 2);
    let mut acknowledged = 0;
    for _ in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("the test has a path"))
            .args(["--exact", "child_that_writes", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut said = child.stdout.take().expect("it is piped");
        let count = 20 + random.below(300) as u64;
        acknowledged += wait_for_marks(&mut said, count);
        child.kill().expect("the child is killed");
        child.wait().expect("the child is gone");
        let mut rest = Vec::new();
        said.read_to_end(&mut rest).expect("the pipe ends");
        acknowledged += marks(&rest);
        let broker = open(directory.path());
        let found = values(&broker, 0).len() as u64;
        // The last commit may have been made and not been said.
        assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} of {acknowledged} are there");
        assert_holds(&broker, found);
        acknowledged = found;
    }
}

fn wait_for_marks(said: &mut impl Read, count: u64) -> u64 {
    let mut found = 0;
    let mut buffer = [0; 64];
    while found < count {
        let length = said.read(&mut buffer).expect("the child speaks");
        assert!(length > 0, "the child died by itself");
        found += marks(&buffer[..length]);
    }
    found
}

fn marks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'#').count() as u64
}

#[test]
fn a_torn_tail_is_cut_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    create(&broker, "out", 2);
    (0..100).for_each(|number| commit(&broker, number).expect("it commits"));
    drop(broker);
    let last = segments(directory.path()).pop().expect("there is a segment");
    let mut count = 100;
    // Cuts into the last frame, then leaves bytes of a frame that never came to be whole.
    for tail in [&[][..], &[0; 700], &[7, 0, 0]] {
        let length = fs::metadata(&last).expect("the segment exists").len();
        let file = OpenOptions::new().append(true).open(&last).expect("the segment opens");
        match tail {
            [] => file.set_len(length - 3).expect("it is cut"),
            _ => (&file).write_all(tail).expect("it is appended"),
        }
        count -= u64::from(tail.is_empty());
        let broker = open(directory.path());
        assert_holds(&broker, count);
        commit(&broker, count).expect("it goes on");
        count += 1;
        drop(broker);
        assert_holds(&open(directory.path()), count);
    }
}

#[test]
fn damage_in_the_middle_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    create(&broker, "out", 2);
    (0..200).for_each(|number| commit(&broker, number).expect("it commits"));
    drop(broker);
    let mut random = Random::printed();
    let segments = segments(directory.path());
    let sealed = &segments[..segments.len() - 1];
    for _ in 0..200 {
        let path = &sealed[random.below(sealed.len())];
        let whole = fs::read(path).expect("the segment can be read");
        let mut changed = whole.clone();
        match random.below(3) {
            0 => changed.truncate(random.below(whole.len())),
            _ => changed[random.below(whole.len())] ^= 1 << random.below(8),
        }
        fs::write(path, &changed).expect("the segment can be written");
        assert_damaged(directory.path());
        fs::write(path, &whole).expect("the segment can be written");
    }
    for path in sealed {
        let hidden = path.with_extension("");
        fs::rename(path, &hidden).expect("the segment can be moved");
        assert_damaged(directory.path());
        fs::rename(&hidden, path).expect("the segment can be moved back");
    }
    assert_holds(&open(directory.path()), 200);
}

#[test]
fn a_reader_does_not_take_damage_for_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    create(&broker, "out", 2);
    (0..10).for_each(|number| commit(&broker, number).expect("it commits"));
    drop(broker);
    let segments = segments(directory.path());
    let last = segments.last().expect("there is a segment");
    let mut bytes = fs::read(last).expect("the segment can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(last, &bytes).expect("the segment can be written");
    let view = EmbeddedBroker::open_read_only(directory.path(), options()).expect("it may be a frame on its way");
    let error = view.topics().expect_err("it is still so at the second look");
    assert!(error.message.contains("journal_damaged"), "{error}");
}

fn assert_damaged(directory: &Path) {
    let opened = EmbeddedBroker::open(directory, options());
    assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{:?}", opened.err());
}

#[test]
fn a_second_process_may_only_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let writer = open(directory.path());
    let refused = EmbeddedBroker::open(directory.path(), options()).expect_err("it is in use");
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    assert!(matches!(refused, OpenError::InUse { .. }));

    let view = EmbeddedBroker::open_read_only(directory.path(), options()).expect("it opens beside");
    create(&writer, "out", 2);
    for number in 0..100 {
        commit(&writer, number).expect("it commits");
        assert_holds(&view, number + 1);
    }
    let refusals = [
        commit(&view, 0),
        view.delete_topic("out"),
        view.member(&MemberOptions {
            group: "g".to_owned(),
            tasks_topic: "out".to_owned(),
            slot: "a".to_owned(),
            session_timeout: DEADLINE,
        })
        .map(drop),
    ];
    for refusal in refusals {
        assert_eq!(refusal.expect_err("a view changes nothing").kind, BrokerErrorKind::Misconfigured);
    }
    assert_eq!(view.journal_bytes(), writer.journal_bytes());
    drop(writer);
    EmbeddedBroker::wipe(directory.path()).expect("nobody writes");
    assert_eq!(open(directory.path()).topics().expect("topics are listed"), []);
}

#[test]
fn a_full_journal_refuses_the_commit_and_shows_nothing_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let limited = EmbeddedOptions { journal_bytes_max: 2_000, ..options() };
    let broker = EmbeddedBroker::open(directory.path(), limited).expect("the broker opens");
    create(&broker, "out", 2);
    let mut count = 0;
    let refused = loop {
        match commit(&broker, count) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, BrokerErrorKind::Retriable);
    assert!(refused.message.contains("journal_bytes_max = 2000"), "{refused}");
    assert_holds(&broker, count);
    drop(broker);
    let broker = open(directory.path());
    assert_holds(&broker, count);
    commit(&broker, count).expect("there is room again");
}
