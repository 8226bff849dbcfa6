//! Replays in one process with the pipeline: one that dies at any of its calls, one that pauses by itself, one that waits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Member, MemberOptions, NewTopic, Outgoing, Producer,
    ProducerOptions, Reader, Result, TopicInfo, TopicPartition, Watermarks,
};
use tidemill_runtime::operator::verify_trail;
use tidemill_runtime::replay::run::{Guard, Pace, ReplayError};
use tidemill_runtime::replay::{Edit, Failing, RunState};

use crate::under_test::{PAYMENTS, Sent, UnderTest};

const DLQ: &str = "payments.requested.v1.dlq";
const AS_FAST_AS_CAN_BE: Pace = Pace { rate: None, failed_percent_max: 101, lag_records_max: None };

/// The broker as an operator's process sees it that dies at one of its calls: from then on nothing that it does has an
/// effect.
struct MortalBroker {
    broker: Arc<dyn Broker>,
    calls_left: Arc<AtomicI64>,
}

struct MortalProducer {
    producer: Box<dyn Producer>,
    calls_left: Arc<AtomicI64>,
}

fn live(calls_left: &AtomicI64) -> Result<()> {
    match calls_left.fetch_sub(1, Ordering::Relaxed) {
        ..=0 => Err(BrokerError::new(BrokerErrorKind::Fatal, "live", "the process was killed by the test")),
        _ => Ok(()),
    }
}

impl Producer for MortalProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.send(record)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.flush(deadline)
    }

    fn begin(&mut self) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.begin()
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.send_offsets(offsets, member, deadline)
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.send_group_offsets(group, offsets, deadline)
    }

    /// Two deaths: before the request, and before the answer.
    fn commit(&mut self, deadline: Duration) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.commit(deadline)?;
        live(&self.calls_left)
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        live(&self.calls_left)?;
        self.producer.abort(deadline)
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        self.producer.acknowledged(partition)
    }
}

impl Broker for MortalBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        self.broker.member(options)
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        live(&self.calls_left)?;
        self.broker.reader(isolation)
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        live(&self.calls_left)?;
        let producer = self.broker.producer(options)?;
        Ok(Box::new(MortalProducer { producer, calls_left: Arc::clone(&self.calls_left) }))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.broker.topics()
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.broker.create_topic(topic)
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.broker.delete_topic(name)
    }

    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        self.broker.delete_records(partition, before)
    }

    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        live(&self.calls_left)?;
        self.broker.watermarks(partition, isolation)
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        self.broker.offset_for_time(partition, timestamp_ms)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        self.broker.committed(group, partitions)
    }

    fn describe(&self) -> String {
        "a broker for mortals".to_owned()
    }
}

fn bad(id: &str) -> Sent {
    let payment = json!({"id": id, "source": "shop", "debit_account": "acc-1", "credit_account": "m-1",
        "amount": {"value": "1.00"}, "currency": "EUR", "created_at": "2026-01-05T08:00:00Z", "channel": "web"});
    Sent::new("acc-1", payment.to_string())
}

/// Avro with a schema that nobody registered: fails again each time.
fn hopeless(number: u32) -> Sent {
    Sent::new(&format!("acc-{number}"), b"\0\x7f\xff\xff\xffdatum".to_vec())
}

fn mended(value: &[u8]) -> Edit {
    let text = String::from_utf8_lossy(value).replace(r#"{"value":"1.00"}"#, r#""1.00""#);
    Edit::new(text.as_bytes(), json!([]))
}

#[test]
fn a_replay_that_dies_at_any_of_its_calls_comes_to_the_same_end() {
    let under_test = UnderTest::new();
    let running = under_test.start("a", 1);
    let mut deaths = 0;
    for calls in 1..200 {
        let ids: Vec<String> = (0..3).map(|number| format!("p-{calls}-{number}")).collect();
        under_test.send(PAYMENTS, &ids.iter().map(|id| bad(id)).collect::<Vec<_>>());
        under_test.wait_until(&running, || under_test.records(DLQ).len() == 3 * calls as usize);
        let plan = under_test.plan(DLQ, Failing::Left, |letter| Some(mended(letter)));
        let broker = MortalBroker { broker: under_test.broker(), calls_left: Arc::new(AtomicI64::new(calls)) };
        let died = under_test.apply(Arc::new(broker), &plan, &AS_FAST_AS_CAN_BE, |_, _| ControlFlow::Continue(()));
        let report = under_test
            .apply(under_test.broker(), &plan, &AS_FAST_AS_CAN_BE, |_, _| ControlFlow::Continue(()))
            .expect("nobody dies");
        assert_eq!(report.replayed + report.replayed_before, 3, "after {calls} calls: {report:?}");
        if died.is_ok() {
            assert_eq!(report.replayed, 0, "a plan that was applied does nothing more");
            deaths = calls - 1;
            break;
        }
        assert!(matches!(died, Err(ReplayError::Broker(_) | ReplayError::Operator(_))), "{died:?}");
    }
    assert!(deaths > 20, "a replay makes more calls than {deaths}");
    under_test.wait_until_idle(&running);
    running.join().expect("everything stops in good order");
    let answers =
        "SELECT count(*) || ' of ' || count(DISTINCT payment_id) FROM payment_statuses WHERE phase = 'outcome'";
    let payments = 3 * (deaths + 1);
    assert_eq!(under_test.ask(answers), [format!("{payments} of {payments}")], "each has one outcome");
    assert_eq!(under_test.findings(), [""; 0]);
    let trail = verify_trail(under_test.broker().as_ref(), under_test.topology()).expect("the trail can be read");
    assert!(trail.findings().is_empty(), "{:?}", trail.findings());
}

#[test]
fn a_replay_pauses_by_itself_when_too_much_fails_again_and_goes_on_when_told_to() {
    const LETTERS: u32 = 120;
    let under_test = UnderTest::new();
    let running = under_test.start("a", 1);
    under_test.send(PAYMENTS, &(0..LETTERS).map(hopeless).collect::<Vec<_>>());
    under_test.wait_until(&running, || under_test.records(DLQ).len() == LETTERS as usize);
    let plan = under_test.plan(DLQ, Failing::Sent, |_| None);
    let pace = Pace { rate: Some(40), failed_percent_max: 50, lag_records_max: None };
    let mut sent = 0;
    for _ in 0..2 {
        let paused = under_test.apply(under_test.broker(), &plan, &pace, |_, _| ControlFlow::Continue(()));
        let Err(ReplayError::Refused(Guard::Failing { failed, sent: by_this_run })) = paused else {
            panic!("{paused:?} after {sent}");
        };
        assert!(failed <= by_this_run && failed * 2 >= by_this_run, "{failed} of {by_this_run}");
        assert_eq!(under_test.replay_state(DLQ), Some(RunState::Paused));
        sent += by_this_run;
        assert!(sent < u64::from(LETTERS), "it stops before all have failed again");
    }
    let rest = under_test
        .apply(under_test.broker(), &plan, &AS_FAST_AS_CAN_BE, |_, _| ControlFlow::Continue(()))
        .expect("nothing is too much any more");
    assert_eq!((rest.replayed, rest.replayed_before), (u64::from(LETTERS) - sent, sent));
    under_test.wait_until(&running, || under_test.records(DLQ).len() == 2 * LETTERS as usize);
    running.join().expect("everything stops in good order");
    assert_eq!(under_test.findings(), [""; 0]);
}

/// Nothing works here, so what was sent waits for the stage for ever.
#[test]
fn a_replay_waits_for_a_stage_that_is_behind_and_can_be_stopped_meanwhile() {
    let under_test = UnderTest::new();
    let running = under_test.start("a", 1);
    under_test.send(PAYMENTS, &(0..5).map(|number| bad(&format!("p-{number}"))).collect::<Vec<_>>());
    under_test.wait_until(&running, || under_test.records(DLQ).len() == 5);
    running.join().expect("everything stops in good order");
    let plan = under_test.plan(DLQ, Failing::Left, |letter| Some(mended(letter)));
    let pace = Pace { rate: Some(1), failed_percent_max: 50, lag_records_max: Some(0) };
    let mut looks = Vec::new();
    let report = under_test.apply(under_test.broker(), &plan, &pace, |done, _| {
        looks.push(done);
        if looks.len() > 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let report = report.expect("it was stopped in good order");
    assert!(report.was_stopped && report.replayed < 4, "{report:?} {looks:?}");
    let waited = looks.iter().filter(|done| **done == report.replayed).count();
    assert!(waited >= 3, "it looks whether it is to stop while it waits: {looks:?}");
}
