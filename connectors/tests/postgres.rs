//! The Postgres sink against a real Postgres: the one of `dev/stack up` (`TIDEMILL_POSTGRES`), and one of its own that
//! it may kill.

mod sql;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tempfile::TempDir;
use tidemill_connectors::conformance::{self, Lab};
use tidemill_connectors::{CONNECTORS, TABLES};
use tidemill_core::{Settings, Sink, SinkError, SinkSpec};

/// A database of its own, named so that tests at the same time do not meet.
struct PostgresLab {
    server: String,
    database: String,
}

impl PostgresLab {
    fn at(server: &str) -> Self {
        let unique = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        let database = format!("tidemill_test_{}_{unique}", std::process::id());
        println!("database {database}");
        let server = server.rsplit_once('/').expect("a URL with a database").0.to_owned();
        Self { server, database }
    }

    fn of_the_stack() -> Self {
        let url = std::env::var("TIDEMILL_POSTGRES").expect(
            "TIDEMILL_POSTGRES is not set: start the servers with `dev/stack up` and run the tests with `make test`",
        );
        Self::at(&url)
    }

    fn url(&self) -> String {
        format!("{}/{}", self.server, self.database)
    }

    fn ask_server(&self, sql: &str) -> Vec<String> {
        self.texts(&format!("{}/postgres", self.server), sql)
    }

    fn texts(&self, url: &str, sql: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let options: PgConnectOptions = url.parse().expect("a Postgres URL");
            let mut connection: PgConnection = options.connect().await.expect("connects");
            sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.expect("answers")
        })
    }
}

impl Drop for PostgresLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.ask_server(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database));
    }
}

fn spec() -> &'static SinkSpec {
    CONNECTORS.iter().find(|spec| spec.name == "postgres").expect("is listed")
}

fn open(url: &str) -> Box<dyn Sink> {
    open_as(url, None)
}

fn open_as(url: &str, colour: Option<&str>) -> Box<dyn Sink> {
    let mut table = toml::Table::from_iter([
        ("url".to_owned(), url.into()),
        // Small, so that the suite splits its batches.
        ("statement_rows_max".to_owned(), 13.into()),
    ]);
    table.extend(colour.map(|colour| ("colour".to_owned(), colour.into())));
    (spec().open)("test", &Settings(table)).expect("settings are right")
}

impl Lab for PostgresLab {
    fn spec(&self) -> &'static SinkSpec {
        spec()
    }

    fn open(&self) -> Box<dyn Sink> {
        open(&self.url())
    }

    fn open_coloured(&self, colour: &str) -> Box<dyn Sink> {
        open_as(&self.url(), Some(colour))
    }

    fn wipe(&mut self) {
        let exists = format!("SELECT datname::text FROM pg_database WHERE datname = '{}'", self.database);
        if self.ask_server(&exists).is_empty() {
            return;
        }
        self.texts(&self.url(), "DROP SCHEMA public CASCADE");
        self.texts(&self.url(), "CREATE SCHEMA public");
    }

    fn dump(&mut self) -> Vec<String> {
        let names = TABLES.iter().map(|table| table.name).chain(["read_model_offsets"]);
        let selects: Vec<String> = names
            .map(|name| {
                format!("SELECT '{name}: ' || (to_jsonb(t) - 'recorded_at' - 'updated_at')::text AS row FROM {name} t")
            })
            .collect();
        self.texts(&self.url(), &format!("{} ORDER BY row", selects.join(" UNION ALL ")))
    }
}

impl sql::SqlLab for PostgresLab {
    fn query(&mut self, sql: &str) -> Vec<String> {
        self.texts(&self.url(), sql)
    }

    fn columns(&mut self, table: &str) -> Vec<String> {
        let of_table =
            format!("FROM information_schema.columns WHERE table_name = '{table}' AND table_schema = current_schema()");
        self.texts(&self.url(), &format!("SELECT column_name::text {of_table} ORDER BY column_name COLLATE \"C\""))
    }
}

#[test]
fn passes_the_suite() {
    conformance::check(&mut PostgresLab::of_the_stack());
}

#[test]
fn tables_follow_their_rules() {
    sql::check(&mut PostgresLab::of_the_stack());
}

#[test]
fn plan_names_what_apply_does() {
    let lab = PostgresLab::of_the_stack();
    let mut sink = lab.open();
    let migrations =
        ["0001_read_models", "0002_holds", "0003_aggregated_balances", "0004_dead_letter_items", "0005_exchanges"]
            .map(|migration| format!("apply migration {migration}"));
    let expected = [vec![format!("create database {}", lab.database)], migrations.to_vec()].concat();
    assert_eq!(sink.plan(), Ok(expected));
    let unready = sink.claim(0, "a").expect_err("there is no database");
    assert!(matches!(&unready, SinkError::Misconfigured(message) if message.contains("tidemill apply")), "{unready}");
}

#[test]
fn two_processes_may_apply_at_once() {
    let lab = PostgresLab::of_the_stack();
    let url = lab.url();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| open(&url).apply().expect("applies"));
        }
    });
    assert_eq!(lab.open().plan(), Ok(Vec::new()));
}

/// The checks before the database know no such limit, so the record has to be searched for.
#[test]
fn a_record_that_only_the_database_refuses_is_found() {
    let lab = PostgresLab::of_the_stack();
    let mut sink = lab.open();
    sink.apply().expect("applies");
    sink.claim(0, "a").expect("claims");
    for bad in [0, 1, 8, 20] {
        let mut batch = conformance::everything(spec(), 0..3);
        batch.records[bad].partition = u32::MAX;
        let refused = sink.write(&batch);
        assert!(matches!(&refused, Err(SinkError::Refused { index, .. }) if *index == bad), "{bad}: {refused:?}");
    }
    sink.write(&conformance::everything(spec(), 0..3)).expect("writes");
}

#[test]
fn every_table_view_and_column_has_a_comment() {
    let lab = PostgresLab::of_the_stack();
    lab.open().apply().expect("applies");
    let without = lab.texts(
        &lab.url(),
        "SELECT c.relname || COALESCE('.' || a.attname, '') FROM pg_class c \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') \
           AND c.relname <> 'read_model_migrations' \
           AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL) ORDER BY 1",
    );
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn a_server_that_is_away_is_unavailable_and_nothing_tells_the_password() {
    let mut sink = open("postgres://someone:s3cret@127.0.0.1:1/d");
    for error in [sink.plan().map(|_| ()), sink.apply(), sink.claim(0, "a").map(|_| ())] {
        let error = error.expect_err("nobody listens there");
        assert!(matches!(error, SinkError::Unavailable(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1/d") && !text.contains("s3cret") && !text.contains("someone"), "{text}");
    }
}

#[test]
fn survives_kills_of_the_server() {
    let server = OwnServer::start();
    let mut lab = PostgresLab::at(&server.url());
    conformance::check_kills(&mut lab, &|| server.kill_and_restart());
}

/// A Postgres in a temporary folder. It refuses to run as root, so as root it runs as the user of the package.
struct OwnServer {
    folder: TempDir,
    port: u16,
}

impl OwnServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let server = Self { folder, port };
        if is_root() {
            let path = server.folder.path().to_str().expect("is UTF-8");
            run(Command::new("chown").args(["postgres:postgres", path]));
        }
        run(server.command("initdb").args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"]));
        assert!(server.try_start(), "Postgres does not start; see {}", server.folder.path().display());
        server
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn command(&self, program: &str) -> Command {
        let binary = binaries().join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(binary);
            command
        } else {
            Command::new(binary)
        };
        command.current_dir(self.folder.path()).arg("-D").arg(self.folder.path());
        command
    }

    fn try_start(&self) -> bool {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("server.log");
        let mut command = self.command("pg_ctl");
        command.args(["-s", "-w", "-t", "30", "-l"]).arg(log).args(["-o", &options, "start"]);
        command.stderr(std::process::Stdio::null()).status().expect("pg_ctl runs").success()
    }

    /// `kill -9` of the server; then starts until the last of its processes has let go of its memory.
    fn kill_and_restart(&self) {
        let pid_file = std::fs::read_to_string(self.folder.path().join("postmaster.pid")).expect("the server runs");
        let pid = pid_file.lines().next().expect("a process id").to_owned();
        run(Command::new("kill").args(["-9", &pid]));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.try_start() {
            assert!(Instant::now() < deadline, "Postgres does not come back; see {}", self.folder.path().display());
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // The folder goes away next; nothing is lost when this fails.
        let _ = self.command("pg_ctl").args(["-s", "-w", "-m", "immediate", "stop"]).status();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout == b"0\n"
}

fn binaries() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("Postgres is installed as a system package, see `dev/stack up`")
        .map(|entry| entry.expect("is readable").path().join("bin"))
        .collect();
    versions.sort();
    versions.pop().expect("a version of Postgres")
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command exists");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
