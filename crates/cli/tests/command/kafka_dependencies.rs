//! The registry, Postgres and Redis go away and come back under a running pipeline: what needs them waits, nothing becomes a
//! dead letter for it, and in the end everything is there.
//!
//! Needs the servers of `dev/stack up`, which others use meanwhile: so each is reached through a gate that can be shut. How
//! the servers themselves are killed is the matter of `make chaos`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use crate::http::{free_address, get, metric};
use crate::kafka::{DEADLINE, Pipeline, TICK};

/// Avro with a schema that nobody registered, so that only the registry can say what it is.
const UNKNOWN_SCHEMA: &[u8] = b"\0\x7f\xff\xff\xfedatum";

/// A way to a server that can be shut: then nobody is let in, and who was inside is thrown out.
struct Gate {
    address: SocketAddr,
    is_open: Arc<AtomicBool>,
    inside: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn before(server: &str) -> Self {
        let server = server.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = Self { address, is_open: Arc::new(AtomicBool::new(true)), inside: Arc::default() };
        let (is_open, inside) = (Arc::clone(&gate.is_open), Arc::clone(&gate.inside));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut inside = inside.lock().expect("no thread panics here");
                let Ok(server) = TcpStream::connect(&server) else { continue };
                if is_open.load(Ordering::Relaxed) {
                    let both = [&client, &server].map(|stream| stream.try_clone().expect("a handle"));
                    inside.extend(both);
                    let back = [&server, &client].map(|stream| stream.try_clone().expect("a handle"));
                    std::thread::spawn(move || carry(client, server));
                    let [from, to] = back;
                    std::thread::spawn(move || carry(from, to));
                }
            }
        });
        gate
    }

    fn shut(&self) {
        let mut inside = self.inside.lock().expect("no thread panics here");
        self.is_open.store(false, Ordering::Relaxed);
        for stream in inside.drain(..) {
            // One that is closed already is as good.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Replaces the host and port in the variable's address by a gate before them.
fn gated(pipeline: &mut Pipeline, variable: &str) -> Gate {
    let address = pipeline.tidemill.variable(variable);
    let rest = address.split_once("://").expect("an address").1;
    let authority = rest.split('/').next().expect("an authority");
    let server = authority.rsplit('@').next().expect("a host and a port").to_owned();
    let gate = Gate::before(&server);
    pipeline.tidemill.set_variable(variable, &address.replacen(&server, &gate.address.to_string(), 1));
    gate
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !is_so() {
        assert!(started_at.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(TICK);
    }
}

/// Whether a circuit is open for the reason, at a slot whose name holds `slot`.
fn is_open(address: &str, slot: &str, reason: &str) -> bool {
    let metrics = get(address, "/metrics");
    let mut rows = metrics.lines().filter(|line| line.starts_with("tidemill_circuit_open{"));
    rows.any(|row| row.contains(slot) && row.contains(reason) && row.ends_with(" 1"))
}

#[test]
fn what_needs_a_server_that_is_away_waits_and_nothing_becomes_a_dead_letter() {
    let mut pipeline = Pipeline::new();
    pipeline.tidemill.run("apply --yes").text();
    let gates = ["TIDEMILL_REGISTRY", "TIDEMILL_POSTGRES", "TIDEMILL_REDIS"];
    let [registry, postgres, redis] = gates.map(|variable| gated(&mut pipeline, variable));
    let tidemill = &pipeline.tidemill;
    let address = free_address();
    let running = tidemill.start(&format!("run --set pipeline.http_address={address}"));
    pipeline.produce("generate accounts --accounts 50", "accounts.requested.v1", "account");
    let payments = |seed: u32| {
        let generated = format!("generate payments --payments 100 --accounts 50 --seed {seed}");
        pipeline.produce(&generated, "payments.requested.v1", "debit_account");
    };
    payments(1);
    wait_until("the pipeline runs", || metric(&address, "tidemill_txn_commits_total") > 0);

    registry.shut();
    let topic = pipeline.topic("payments.requested.v1");
    tidemill.feed(&format!("produce {topic}"), UNKNOWN_SCHEMA).text();
    wait_until("a worker waits for the registry", || is_open(&address, "-main-", "registry_unavailable"));
    let codes = || {
        let letters = tidemill.run("dlq ls --json").json();
        letters.as_array().expect("a list").iter().filter(|group| group["code"] == json!("schema_unknown")).count()
    };
    assert_eq!(codes(), 0, "nothing is wrong with the record as far as anybody knows");
    registry.open();
    wait_until("the registry has said that it knows no such schema", || codes() == 1);
    wait_until("the circuit is closed", || !is_open(&address, "-main-", "registry_unavailable"));

    for (gate, sink, seed) in [(&postgres, "sink-postgres", 2), (&redis, "sink-redis", 3)] {
        gate.shut();
        payments(seed);
        wait_until("the sink waits for its database", || is_open(&address, sink, "sink_unavailable"));
        let before = metric(&address, "tidemill_sink_retries_total");
        wait_until("it tries again", || metric(&address, "tidemill_sink_retries_total") >= before + 3);
        gate.open();
        wait_until("the circuit is closed", || !is_open(&address, sink, "sink_unavailable"));
    }
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
    tidemill.run("run --until-idle").text();
    let groups = tidemill.run("dlq ls --json").json();
    let stages = groups.as_array().expect("a list").iter().map(|group| group["stage"].clone());
    assert!(stages.clone().all(|stage| stage == "ingest"), "what nobody can read, and nothing else: {groups}");
    assert_eq!(codes(), 1);
    pipeline.assert_exact(301);
    assert_eq!(tidemill.run("status").code, Some(0));
}
