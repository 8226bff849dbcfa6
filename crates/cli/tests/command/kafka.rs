//! The default topology on real Kafka, registry, Postgres and Redis, killed twice on the way.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tidemill_core::money;
use tidemill_runtime::broker::Broker;
use tidemill_runtime::kafka::KafkaBroker;

use crate::sql::{VIOLATIONS, postgres};
use crate::tidemill::{Started, Tidemill, repository, seed};

const RECORDS: u64 = 3_000;
pub(crate) const TASKS: u32 = 4;
const ACCOUNTS: &str = "200";
pub(crate) const TICK: Duration = Duration::from_millis(20);
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: start the servers with `dev/stack up` and run the tests with `make test`")
    })
}

/// The default topology under names of its own.
pub(crate) struct Pipeline {
    pub(crate) tidemill: Tidemill,
    /// Begins the name of the pipeline and of every topic.
    pub(crate) name: String,
    pub(crate) bootstrap: String,
    postgres: String,
    redis: String,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
        // Tests of one run start in the same millisecond.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{millis}x{}", COUNT.fetch_add(1, Ordering::Relaxed));
        println!("pipeline {name}");
        let [bootstrap, registry, server_url, redis] =
            ["TIDEMILL_BOOTSTRAP", "TIDEMILL_REGISTRY", "TIDEMILL_POSTGRES", "TIDEMILL_REDIS"].map(server);
        let postgres = format!("{}/{name}", server_url.rsplit_once('/').expect("a URL with a database").0);
        let mut tidemill = Tidemill::new();
        tidemill.write("topology.toml", renamed(&name));
        for (variable, value) in [
            ("TIDEMILL_BROKER", "kafka"),
            ("TIDEMILL_BOOTSTRAP", &bootstrap),
            ("TIDEMILL_REGISTRY", &registry),
            ("TIDEMILL_POSTGRES", &postgres),
            ("TIDEMILL_REDIS", &redis),
        ] {
            tidemill.set_variable(variable, value);
        }
        Self { tidemill, name, bootstrap, postgres, redis }
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Generates and writes, and returns what was written.
    pub(crate) fn produce(&self, generate: &str, topic: &str, key: &str) -> String {
        let records = self.tidemill.run(generate).text();
        let produced =
            self.tidemill.feed(&format!("produce {} --key {key} --json", self.topic(topic)), records.as_bytes());
        let lines = records.lines().count();
        assert_eq!(produced.json()["records"], json!(lines));
        records
    }

    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        postgres(&self.postgres, sql)
    }

    pub(crate) fn answers(&self) -> u64 {
        self.ask("SELECT count(*)::text FROM payment_statuses")[0].parse().expect("a number")
    }

    pub(crate) fn kill_at(&self, mut running: Started, answers: u64) {
        let started_at = Instant::now();
        while self.answers() < answers {
            assert!(!running.has_ended(), "the pipeline ended: {:#?}", running.ended());
            assert!(started_at.elapsed() < DEADLINE, "{} of {answers} answers", self.answers());
            std::thread::sleep(TICK);
        }
        println!("killed at {} answers", self.answers());
        running.signal("KILL");
        assert_eq!(running.ended().code, None);
    }

    pub(crate) fn broker(&self) -> Arc<KafkaBroker> {
        KafkaBroker::connect(&self.bootstrap, &BTreeMap::new()).expect("no property can be wrong")
    }

    /// With nothing under way: every record has one outcome, and nothing is lost or doubled on the way to the tables.
    pub(crate) fn assert_exact(&self, records: u64) {
        let reconciled = self.tidemill.run("reconcile --json").json();
        assert_eq!(payments_path(&reconciled)["records_in"], json!(records));
        for sql in VIOLATIONS {
            assert_eq!(self.ask(sql), [""; 0], "{sql}");
        }
    }

    /// The same of the read model that is live.
    pub(crate) fn ask_live(&self, sql: &str) -> Vec<String> {
        postgres(&format!("{}?options[search_path]=live", self.postgres), sql)
    }

    pub(crate) fn keys_in_redis(&self, prefix: &str) -> Vec<String> {
        let pattern = format!("{}:{prefix}*", self.name);
        redis::cmd("KEYS").arg(pattern).query(&mut self.redis()).expect("answers")
    }

    pub(crate) fn live_balances_in_redis(&self) -> BTreeMap<String, String> {
        let live: String =
            redis::cmd("GET").arg(format!("{}:live", self.name)).query(&mut self.redis()).expect("is set");
        self.balances_below(&format!("{live}balance:"))
    }

    pub(crate) fn live_balances_in_postgres(&self) -> BTreeMap<String, String> {
        balances(&self.ask_live(BALANCES))
    }

    /// Account to available amount, as Redis has it.
    fn balances_in_redis(&self) -> BTreeMap<String, String> {
        self.balances_below(&format!("{}:balance:", self.name))
    }

    fn balances_below(&self, prefix: &str) -> BTreeMap<String, String> {
        let mut connection = self.redis();
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*")).query(&mut connection).expect("answers");
        keys.iter()
            .map(|key| {
                let account = key.strip_prefix(prefix).expect("was asked for").to_owned();
                let available = redis::cmd("HGET").arg(key).arg("available").query(&mut connection);
                (account, available.expect("every balance has it"))
            })
            .collect()
    }

    fn balances_in_postgres(&self) -> BTreeMap<String, String> {
        balances(&self.ask(BALANCES))
    }

    fn redis(&self) -> redis::Connection {
        redis::Client::open(self.redis.as_str()).expect("a Redis URL").get_connection().expect("Redis answers")
    }
}

const BALANCES: &str = "SELECT account_id || ' ' || available_minor || ' ' || currency FROM account_balances";

/// Account to available amount, from answers to [`BALANCES`].
fn balances(lines: &[String]) -> BTreeMap<String, String> {
    let balance = |line: &String| {
        let [account, minor, "EUR"] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        (account.to_owned(), money::decimal(minor.parse().expect("is whole"), 2))
    };
    lines.iter().map(balance).collect()
}

impl Drop for Pipeline {
    /// What a failed test leaves behind is left for the person who looks into it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let broker = self.broker();
        for topic in broker.topics().expect("the broker answers") {
            if topic.name.starts_with(&self.name) {
                broker.delete_topic(&topic.name).expect("the topic can be deleted");
            }
        }
        let server = self.postgres.rsplit_once('/').expect("a URL with a database").0;
        postgres(&format!("{server}/postgres"), &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let mut connection = self.redis();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}:*", self.name)).query(&mut connection).expect("answers");
        for key in keys {
            let () = redis::cmd("DEL").arg(key).query(&mut connection).expect("answers");
        }
    }
}

/// The default topology with other names for the pipeline and every topic, and a prefix for every key in Redis.
fn renamed(name: &str) -> String {
    let text = std::fs::read_to_string(repository().join("topology.toml")).expect("the default topology is there");
    let rename = |part: &str| match part.split('.').collect::<Vec<_>>()[..] {
        [_, _, version] if version.starts_with('v') && !part.contains([' ', '/']) => format!("{name}-{part}"),
        _ => part.to_owned(),
    };
    let text = text.split('"').map(rename).collect::<Vec<_>>().join("\"");
    let url = "url = \"${TIDEMILL_REDIS";
    let [pipeline, redis] = ["name = \"payments\"", url].map(|line| text.matches(line).count());
    assert_eq!([pipeline, redis], [1, 1], "the lines that are replaced");
    text.replace("name = \"payments\"", &format!("name = \"{name}\""))
        .replace(url, &format!("key_prefix = \"{name}:\"\n{url}"))
}

fn payments_path(reconciled: &Value) -> &Value {
    assert_eq!(reconciled["findings"], json!([]), "{reconciled:#}");
    &reconciled["paths"][0]
}

#[test]
fn a_pipeline_that_is_killed_twice_loses_nothing_and_doubles_nothing() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    pipeline.produce(&format!("generate accounts --accounts {ACCOUNTS}"), "accounts.requested.v1", "account");
    tidemill.run("run --workers 2 --until-idle").text();
    let generate = format!("generate -n {RECORDS} --accounts {ACCOUNTS} --seed {}", random.random_range(1..1_000));
    pipeline.produce(&generate, "payments.requested.v1", "debit_account");

    for kill in 0..2 {
        let running = tidemill.start("run --workers 2");
        pipeline.kill_at(running, random.random_range(1..RECORDS / 4) + kill * RECORDS / 3);
    }
    tidemill.run("run --workers 2 --until-idle").text();

    let reconciled = tidemill.run("reconcile --json").json();
    let path = payments_path(&reconciled);
    assert_eq!(path["records_in"], json!(RECORDS));
    for sql in VIOLATIONS {
        assert_eq!(pipeline.ask(sql), [""; 0], "{sql}");
    }
    assert_one_answer_each(&pipeline, path);
    let balances = pipeline.balances_in_postgres();
    assert!(balances.len() >= 220, "{} accounts", balances.len());
    assert_eq!(pipeline.balances_in_redis(), balances);
}

/// The engine's figures, the tables and the records that were sent agree: every record has one answer or is dead.
fn assert_one_answer_each(pipeline: &Pipeline, path: &Value) {
    let number = |value: &Value| value.as_u64().expect("a number");
    let sum = |codes: &Value| codes.as_object().expect("by code").values().map(number).sum::<u64>();
    let answered = number(&path["posted"]) + number(&path["duplicate"]) + sum(&path["rejected"]);
    assert_eq!(answered + sum(&path["dead"]), RECORDS);
    let ask = |sql: &str| pipeline.ask(sql)[0].parse::<u64>().expect("a number");
    assert_eq!(ask("SELECT count(*)::text FROM payment_statuses WHERE phase IN ('outcome', 'repeat')"), answered);
    assert_eq!(ask("SELECT count(*)::text FROM dead_letters"), sum(&path["dead"]));
    let posted = "SELECT count(*)::text FROM payment_statuses WHERE phase = 'outcome' AND code = 'ok'";
    assert_eq!(ask(posted), number(&path["posted"]));
    let debits =
        "SELECT count(DISTINCT (source, account_id, payment_id))::text FROM ledger_entries WHERE kind = 'debit'";
    assert_eq!(ask(debits), number(&path["posted"]));
    let credits = "SELECT count(*)::text FROM ledger_entries WHERE kind = 'credit'";
    assert_eq!(ask(credits), number(&path["posted"]));
}

#[test]
fn a_registry_that_does_not_answer_is_4() {
    let pipeline = Pipeline::new();
    let ended = pipeline.tidemill.run("plan --set registry.url=http://127.0.0.1:1");
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(ended.stderr.contains("schema registry"), "{}", ended.stderr);
}
