//! The model of Kafka: the suite that every broker passes, and what it models beyond that.

mod chance;
mod groups;
mod script;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::TransactionProtocol;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::conformance::Random;
use tidemill_runtime::conformance::broker::{BrokerUnderTest, run};
use tidemill_tests::model::{Markers, ModelKafka, ModelOptions, Sending, Waiting};

fn conforms_with(options: ModelOptions) {
    run(&|| BrokerUnderTest {
        broker: ModelKafka::new(Arc::new(SystemClock::default()), options),
        prefix: "suite".to_owned(),
        session_timeout: Duration::from_millis(300),
        deadline: Duration::from_secs(10),
    });
}

#[test]
fn passes_the_suite_for_brokers() {
    for protocol in [TransactionProtocol::First, TransactionProtocol::Second] {
        conforms_with(ModelOptions { protocol, ..ModelOptions::default() });
    }
}

/// As the clients of a real broker see it: every marker takes its own time, and calls wait for it.
#[test]
fn passes_the_suite_for_brokers_with_markers_that_take_their_time() {
    let markers = Markers::Delayed { seed: Random::printed().number(), max: Duration::from_millis(20) };
    let waiting = Waiting::Sleeping(Duration::from_millis(1));
    for protocol in [TransactionProtocol::First, TransactionProtocol::Second] {
        let sending = Sending::AtOnce;
        conforms_with(ModelOptions { protocol, markers, waiting, sending, ..ModelOptions::default() });
    }
}
