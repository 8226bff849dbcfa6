//! Chaos on the real parts: broker, databases and workers are killed, frozen and cut off from each other while payments
//! flow, and `tidemill verify` judges what became of every one of them.
//!
//! Needs Linux and what `dev/stack` needs without Docker; starts a stack of its own on free ports. Short by default;
//! `make chaos` runs for as long as `TIDEMILL_CHAOS_SECONDS` says. The schedule follows the printed seed (`TIDEMILL_SEED`).

mod disk;
mod environment;
mod proxy;
mod stack;
mod verification;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use serde_json::Value;

use crate::disk::SmallDisk;
use crate::environment::{Environment, Incident};
use crate::proxy::Proxy;
use crate::stack::Stack;
use crate::verification::Tidemill;

const SECONDS: u64 = 25;
const INSTANCES: u32 = 3;
/// After an incident has passed, outcomes of every task go on within this. A lost answer to a commit is waited for until
/// the transaction's time-out of 15 s; a killed broker takes its clients some seconds to find again; and workers are hit
/// meanwhile, which costs a session of 6 s each time.
const RESUME_BOUND: Duration = Duration::from_secs(45);
/// A slot that died is inherited: its session of 6 s, and 2 s until its tasks have outcomes again. On a machine whose cores
/// are all busy with something else it took 14 s, so the bound is wide and the time that it took is printed.
const TAKE_OVER_BOUND: Duration = Duration::from_secs(25);

pub(crate) fn repository() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("the package lies in the repository").to_owned()
}

/// A folder that goes when the test has passed, and stays for the person who looks into one that has failed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        // Postgres runs as a user of its own, who must get through.
        let folder = tempfile::Builder::new().prefix("tidemill-chaos-").tempdir().expect("a temporary folder").keep();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&folder, open).expect("it is ours");
        fs::copy(repository().join("topology.toml"), folder.join("topology.toml")).expect("can be copied");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs are in {}", self.0.display());
        } else if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("TIDEMILL_SEED").ok();
    let seed = given.map_or_else(|| rand::rng().random_range(1..1_000_000), |text| text.parse().expect("a number"));
    println!("TIDEMILL_SEED={seed}");
    seed
}

fn seconds() -> u64 {
    let given = std::env::var("TIDEMILL_CHAOS_SECONDS").ok();
    given.map_or(SECONDS, |text| text.parse().expect("TIDEMILL_CHAOS_SECONDS is a number"))
}

/// Options of `verify`, words as on a command line.
fn options(words: impl fmt::Display) -> Vec<String> {
    words.to_string().split(' ').map(ToOwned::to_owned).collect()
}

#[test]
fn everything_holds_whatever_is_killed_frozen_or_cut_off() {
    let (seed, seconds) = (seed(), seconds());
    let folder = Folder::new();
    let stack = Stack::start(&folder.0.join("stack"));
    let proxy = Proxy::start(stack.ports.proxy, stack.behind_proxy());
    let variables = stack.variables();
    let tidemill = Tidemill { folder: &folder.0, variables: &variables };
    tidemill.run(&["apply", "--yes"]);

    take_over(&tidemill, seed);

    let disk = SmallDisk::mount(&folder.0.join("verify/state"));
    let verification = tidemill.verify(&options(format_args!(
        "--seed {seed} --duration {seconds} --rate 120 --accounts 400 --instances {INSTANCES} --workers 1 \
         --faults kill,lose,freeze,leave --recovery-bound 120 --drain-timeout 240 \
         --instance-set broker.bootstrap_servers=127.0.0.1:{}",
        stack.ports.proxy
    )));
    let environment = Environment { stack: &stack, proxy: &proxy, disk: disk.as_ref() };
    let (incidents, verification) = environment.run(verification, seed, Duration::from_secs(seconds));
    let (verdict, holds) = verification.verdict();
    print(&verdict, &incidents, &proxy);
    assert!(holds, "{:#}", verdict["rules"]);
    let slow: Vec<&Incident> =
        incidents.iter().filter(|one| one.resumed_ms(&verdict, &incidents) > bound_ms(RESUME_BOUND)).collect();
    assert!(slow.is_empty(), "not resumed within {RESUME_BOUND:?}: {slow:#?}");
}

/// Tasks of a slot that is gone for good have outcomes again within the session and a little more.
fn take_over(tidemill: &Tidemill<'_>, seed: u64) {
    let verification = tidemill.verify(&options(format_args!(
        "--seed {seed} --duration 18 --rate 120 --accounts 200 --instances 2 --workers 1 --faults lose --recovery-bound {}",
        TAKE_OVER_BOUND.as_secs()
    )));
    let (verdict, holds) = verification.verdict();
    print_faults(&verdict);
    assert!(holds, "{:#}", verdict["rules"]);
}

fn bound_ms(bound: Duration) -> i64 {
    i64::try_from(bound.as_millis()).unwrap_or(i64::MAX)
}

fn print_faults(verdict: &Value) {
    for fault in verdict["faults"].as_array().into_iter().flatten() {
        println!(
            "{:>9} ms  {:<7} {} tasks {}: recovered after {} ms, others waited {} ms, gap at return {} ms",
            fault["at_ms"],
            fault["kind"].as_str().unwrap_or_default(),
            fault["instance"],
            fault["tasks"],
            fault["recovery_ms"],
            fault["others_gap_ms"],
            fault["return_gap_ms"],
        );
    }
}

fn print(verdict: &Value, incidents: &[Incident], proxy: &Proxy) {
    print_faults(verdict);
    for incident in incidents {
        println!("{incident}, resumed after {} ms", incident.resumed_ms(verdict, incidents));
    }
    let (connections, touched) = proxy.figures();
    println!("{connections} connections by way of the proxy, {touched} answers or requests of EndTxn tampered with");
    let figure = |name: &str| verdict[name].clone();
    println!(
        "{} payments, {} records acknowledged, {} without an answer, {} posted; load {} ms; latency {}; ended by themselves {}",
        figure("payments"),
        figure("acknowledged"),
        figure("unknown"),
        figure("posted"),
        figure("load_ms"),
        figure("latency_ms"),
        figure("ended"),
    );
}
