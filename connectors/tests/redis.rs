//! The Redis sink against a real Redis: the one of `dev/stack up` (`TIDEMILL_REDIS`), and ones of its own that it may
//! kill.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use redis::Commands;
use tempfile::TempDir;
use tidemill_connectors::CONNECTORS;
use tidemill_connectors::conformance::{self, Lab};
use tidemill_core::{Settings, Sink, SinkError, SinkSpec};

/// A key prefix per read model, so that tests at the same time do not meet.
struct RedisLab {
    url: String,
    name: String,
    generation: AtomicU32,
}

impl RedisLab {
    fn at(url: &str) -> Self {
        let unique = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        let name = format!("tidemill_test_{}_{unique}", std::process::id());
        println!("keys {name}_*");
        Self { url: url.to_owned(), name, generation: AtomicU32::new(0) }
    }

    fn of_the_stack() -> Self {
        let url = std::env::var("TIDEMILL_REDIS").expect(
            "TIDEMILL_REDIS is not set: start the servers with `dev/stack up` and run the tests with `make test`",
        );
        Self::at(&url)
    }

    fn prefix(&self) -> String {
        format!("{}_{}:", self.name, self.generation.load(Ordering::Relaxed))
    }

    fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url.as_str()).expect("a Redis URL").get_connection().expect("connects")
    }

    fn keys(&self, pattern: &str) -> Vec<String> {
        let mut connection = self.connection();
        let mut keys: Vec<String> =
            connection.scan_match(pattern).expect("answers").map(|key| key.expect("a key")).collect();
        keys.sort();
        keys
    }
}

impl Drop for RedisLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let keys = self.keys(&format!("{}_*", self.name));
        if !keys.is_empty() {
            let _: u64 = self.connection().del(keys).expect("deletes");
        }
    }
}

fn spec() -> &'static SinkSpec {
    CONNECTORS.iter().find(|spec| spec.name == "redis").expect("is listed")
}

fn open(url: &str, prefix: &str) -> Box<dyn Sink> {
    open_as(url, prefix, None)
}

fn open_as(url: &str, prefix: &str, colour: Option<&str>) -> Box<dyn Sink> {
    let mut table = toml::Table::from_iter([
        ("url".to_owned(), url.into()),
        ("key_prefix".to_owned(), prefix.into()),
        // Small, so that the suite splits its batches.
        ("script_records_max".to_owned(), 7.into()),
    ]);
    table.extend(colour.map(|colour| ("colour".to_owned(), colour.into())));
    (spec().open)("test", &Settings(table)).expect("settings are right")
}

impl Lab for RedisLab {
    fn spec(&self) -> &'static SinkSpec {
        spec()
    }

    fn open(&self) -> Box<dyn Sink> {
        open(&self.url, &self.prefix())
    }

    fn open_coloured(&self, colour: &str) -> Box<dyn Sink> {
        open_as(&self.url, &self.prefix(), Some(colour))
    }

    fn wipe(&mut self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn dump(&mut self) -> Vec<String> {
        let keys = self.keys(&format!("{}*", self.prefix()));
        let mut connection = self.connection();
        let mut rows = Vec::new();
        let (pointer, green) = (format!("{}live", self.prefix()), format!("{}green:", self.prefix()));
        let is_row = |key: &&String| !key.contains("read_model_owners") && **key != pointer && !key.starts_with(&green);
        for key in keys.iter().filter(is_row) {
            let fields: std::collections::BTreeMap<String, String> = connection.hgetall(key).expect("is a hash");
            rows.push(format!("{} {fields:?}", key.trim_start_matches(&self.prefix())));
        }
        rows
    }
}

#[test]
fn passes_the_suite() {
    conformance::check(&mut RedisLab::of_the_stack());
}

#[test]
fn a_balance_is_decimal_text_of_its_currency() {
    let mut lab = RedisLab::of_the_stack();
    let mut sink = lab.open();
    sink.claim(0, "a").expect("claims");
    let balance = tidemill_schemas::AccountBalance {
        currency: "EUR".to_owned(),
        available_minor: -1234,
        pending_minor: 5,
        ..conformance::balance("acc-1", 4)
    };
    let record = conformance::sample(tidemill_schemas::AccountBalance::KIND, 0, 4, Box::new(balance));
    sink.write(&tidemill_core::SinkBatch { task: 0, records: vec![record], next: Vec::new() }).expect("writes");
    assert_eq!(
        lab.dump(),
        [
            r#"balance:acc-1 {"available": "-12.34", "currency": "EUR", "last_updated": "2026-01-01T00:00:04.123456Z", "pending": "0.05", "version": "4"}"#
        ]
    );
}

#[test]
fn the_audit_names_balances_that_are_not_complete() {
    let lab = RedisLab::of_the_stack();
    let mut sink = lab.open();
    sink.claim(0, "a").expect("claims");
    sink.write(&conformance::batch(0, 0..7)).expect("writes");
    assert_eq!(sink.audit().map(|audit| audit.violations), Ok(Vec::new()));
    for account in 2..7 {
        let key = format!("{}balance:acc-0-{account}", lab.prefix());
        let _: u64 = lab.connection().hdel(key, "pending").expect("deletes");
    }
    let audit = sink.audit().expect("can be audited");
    let expected = "a balance has no available or no pending: acc-0-2, acc-0-3, acc-0-4 and 2 more";
    assert_eq!(audit.violations, [expected]);
    assert_eq!(audit.balances.map(|digest| digest.accounts), Some(2));
}

#[test]
fn a_server_that_is_away_is_unavailable_and_nothing_tells_the_password() {
    let mut sink = open("redis://someone:s3cret@127.0.0.1:1", "");
    for error in [sink.plan().map(|_| ()), sink.apply(), sink.claim(0, "a").map(|_| ())] {
        let error = error.expect_err("nobody listens there");
        assert!(matches!(error, SinkError::Unavailable(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1") && !text.contains("s3cret") && !text.contains("someone"), "{text}");
    }
}

#[test]
fn a_key_of_someone_else_is_misconfigured() {
    let lab = RedisLab::of_the_stack();
    let _: () = lab.connection().set(format!("{}read_model_owners:test", lab.prefix()), "text").expect("sets");
    let error = lab.open().claim(0, "a").expect_err("the key is no hash");
    assert!(matches!(error, SinkError::Misconfigured(_)), "{error}");
}

#[test]
fn survives_kills_of_a_server_that_persists() {
    let server = OwnServer::start(Persistence::EveryWrite);
    conformance::check_kills(&mut RedisLab::at(&server.url()), &|| server.kill_and_restart());
}

/// Claims and positions are lost with the balances, so everything is read again.
#[test]
fn survives_kills_of_a_server_that_forgets() {
    let server = OwnServer::start(Persistence::None);
    conformance::check_kills(&mut RedisLab::at(&server.url()), &|| server.kill_and_restart());
}

#[derive(Clone, Copy)]
enum Persistence {
    EveryWrite,
    None,
}

/// A Redis in a temporary folder.
struct OwnServer {
    folder: TempDir,
    port: u16,
    persistence: Persistence,
}

impl OwnServer {
    fn start(persistence: Persistence) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let server = Self { folder: tempfile::tempdir().expect("a temporary folder"), port, persistence };
        server.launch();
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn pid_file(&self) -> std::path::PathBuf {
        self.folder.path().join("redis.pid")
    }

    fn launch(&self) {
        let append_only = match self.persistence {
            Persistence::EveryWrite => "yes",
            Persistence::None => "no",
        };
        let status = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "yes", "--save", ""])
            .args(["--appendonly", append_only, "--appendfsync", "always"])
            .arg("--dir")
            .arg(self.folder.path())
            .arg("--pidfile")
            .arg(self.pid_file())
            .arg("--logfile")
            .arg(self.folder.path().join("redis.log"))
            .status()
            .expect("redis-server is installed, see `dev/stack up`");
        assert!(status.success(), "Redis does not start");
        let deadline = Instant::now() + Duration::from_secs(30);
        let client = redis::Client::open(self.url()).expect("a Redis URL");
        while client.get_connection().and_then(|mut connection| connection.ping::<String>()).is_err() {
            assert!(Instant::now() < deadline, "Redis does not answer; see {}", self.folder.path().display());
            std::thread::yield_now();
        }
    }

    fn pid(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        Some(text.trim().to_owned()).filter(|pid| !pid.is_empty())
    }

    fn kill(&self) {
        let Some(pid) = self.pid() else { return };
        Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
        std::fs::remove_file(self.pid_file()).expect("removes the file of a dead process");
    }

    fn kill_and_restart(&self) {
        self.kill();
        // The port is free as soon as the process is gone.
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpListener::bind(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "port {} stays taken", self.port);
            std::thread::yield_now();
        }
        self.launch();
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
