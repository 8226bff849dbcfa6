//! Producers over the simulated network: commits may come late, and answers late or never.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_runtime::broker::{BrokerError, BrokerErrorKind, Member, Outgoing, Producer, Result, TopicPartition};

use crate::faults::Fault;
use crate::network::{CALL, SLOW_MAX, SimMember, lost};
use crate::process::Process;
use crate::scheduler::OUTSIDE;

/// The connection of one producer. A commit that is under way has it to itself.
struct Line {
    inner: Option<Box<dyn Producer>>,
    /// The answer to a commit or an abort that its sender has not heard yet.
    answer: Option<(&'static str, Result<()>)>,
}

pub(crate) struct SimProducer {
    process: Arc<Process>,
    line: Arc<Mutex<Line>>,
}

impl SimProducer {
    pub(crate) fn new(process: &Arc<Process>, inner: Box<dyn Producer>) -> Self {
        let line = Arc::new(Mutex::new(Line { inner: Some(inner), answer: None }));
        Self { process: Arc::clone(process), line }
    }

    fn with<T>(&self, call: &'static str, act: impl FnOnce(&mut dyn Producer) -> Result<T>) -> Result<T> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut line.inner {
            Some(inner) => act(inner.as_mut()),
            None => Err(lost(call, BrokerErrorKind::Retriable)),
        }
    }

    /// Ends the transaction. After a time-out the same call takes up the answer, as librdkafka does it.
    fn end(&self, call: &'static str, act: impl FnOnce(&mut dyn Producer) -> Result<()>) -> Result<()> {
        let answer = self.process.call(call, CALL, || {
            let known = self.lock().answer.clone();
            match known {
                Some((of, answer)) if of == call => answer,
                _ => {
                    let answer = self.with(call, act);
                    if answer.is_ok() {
                        self.lock().answer = Some((call, Ok(())));
                    }
                    answer
                }
            }
        });
        if !matches!(&answer, Err(error) if error.kind == BrokerErrorKind::Retriable) {
            self.lock().answer = None;
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the commit to the network, which executes it when it pleases.
    fn commit_later(&self, deadline: Duration) {
        let (process, line) = (Arc::clone(&self.process), Arc::clone(&self.line));
        let Some(mut inner) = line.lock().unwrap_or_else(PoisonError::into_inner).inner.take() else { return };
        let body = move || {
            let sim = &process.sim;
            sim.pause("late commit", sim.span(SLOW_MAX) + Duration::from_millis(5));
            let answer = inner.commit(deadline);
            sim.note("late commit", || format!("{answer:?}"));
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.answer = Some(("commit", answer));
            line.inner = Some(inner);
        };
        self.process.sim.spawn("network".to_owned(), OUTSIDE, Box::new(body));
    }
}

impl Producer for SimProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        self.with("send", |inner| inner.send(record))
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        if self.process.sim.strikes(Fault::Refused, 1) {
            return Err(BrokerError::new(BrokerErrorKind::Abortable, "flush", "a record was not written"));
        }
        self.process.call("flush", CALL, || self.with("flush", |inner| inner.flush(deadline)))
    }

    fn begin(&mut self) -> Result<()> {
        self.process.danger("begin", CALL * 4);
        self.line.lock().unwrap_or_else(PoisonError::into_inner).answer = None;
        self.with("begin", |inner| inner.begin())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        if member.as_any().is::<SimMember>() {
            return Err(BrokerError::new(BrokerErrorKind::Abortable, "send offsets", "unknown member"));
        }
        if self.process.sim.strikes(Fault::Refused, 1) {
            return Err(BrokerError::new(BrokerErrorKind::Abortable, "send offsets", "rebalance in progress"));
        }
        self.process.call("send offsets", CALL, || {
            self.with("send offsets", |inner| inner.send_offsets(offsets, member, deadline))
        })
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        self.with("send offsets", |inner| inner.send_group_offsets(group, offsets, deadline))
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        // One that has been executed only has its answer taken up.
        let is_whole = self.lock().inner.is_some() && self.lock().answer.is_none();
        if is_whole && self.process.sim.strikes(Fault::LateCommit, 1) {
            self.commit_later(deadline);
            self.process.sim.pause("commit", SLOW_MAX / 8);
            return Err(self.process.timed_out("commit"));
        }
        self.end("commit", |inner| inner.commit(deadline))
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        self.end("abort", |inner| inner.abort(deadline))
    }

    fn is_doubtful(&mut self) -> bool {
        // While the network has the commit, nobody knows.
        self.lock().inner.as_mut().is_none_or(|inner| inner.is_doubtful())
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.inner.as_ref()?.acknowledged(partition)
    }
}

impl Drop for SimProducer {
    fn drop(&mut self) {
        let inner = self.line.lock().unwrap_or_else(PoisonError::into_inner).inner.take();
        if let Some(inner) = inner
            && std::thread::panicking()
        {
            self.process.graveyard.bury_producer(inner);
        }
    }
}
