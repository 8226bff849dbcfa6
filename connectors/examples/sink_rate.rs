//! How many records a second a sink takes: `cargo run --release -p tidemill-connectors --example sink_rate -- KIND TOML`,
//! where TOML holds the sink's settings. It writes to the read model named there and leaves the rows.

use std::time::Instant;

use tidemill_connectors::{CONNECTORS, conformance};
use tidemill_core::Settings;

const BATCHES: u64 = 40;
const OFFSETS_PER_BATCH: u64 = 700;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, toml] = &arguments[..] else {
        eprintln!("usage: sink_rate KIND TOML, for example: sink_rate sqlite 'path = \"/tmp/rate.db\"'");
        std::process::exit(2);
    };
    let spec = CONNECTORS.iter().find(|spec| spec.name == kind).expect("a kind of sink");
    let settings = Settings(toml::from_str(toml).expect("settings in TOML"));
    let mut sink = (spec.open)("rate", &settings).expect("settings are right");
    sink.apply().expect("applies");
    let start = sink.claim(0, "rate").expect("claims").iter().map(|position| position.next_offset).max().unwrap_or(0);
    let batches: Vec<_> = (0..BATCHES)
        .map(|index| start + index * OFFSETS_PER_BATCH)
        .map(|start| conformance::everything(spec, start..start + OFFSETS_PER_BATCH))
        .collect();
    let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
    let started = Instant::now();
    for batch in &batches {
        sink.write(batch).expect("writes");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{kind}: {records} records in {seconds:.2} s, {:.0} records/s", records as f64 / seconds);
}
