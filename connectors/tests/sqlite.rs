//! The SQLite sink against files of its own.

mod sql;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tempfile::TempDir;
use tidemill_connectors::conformance::{self, Lab};
use tidemill_connectors::{CONNECTORS, TABLES};
use tidemill_core::{Settings, Sink, SinkError, SinkSpec};

struct SqliteLab {
    folder: TempDir,
    /// A wiped read model is a new file, so that sinks which are still open cannot touch it.
    generation: AtomicU32,
}

impl SqliteLab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), generation: AtomicU32::new(0) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db", self.generation.load(Ordering::Relaxed)))
    }

    fn texts(&self, sql: String) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection: SqliteConnection =
                SqliteConnectOptions::new().filename(self.path()).connect().await.expect("connects");
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("answers")
        })
    }
}

fn spec() -> &'static SinkSpec {
    CONNECTORS.iter().find(|spec| spec.name == "sqlite").expect("is listed")
}

fn open(path: &std::path::Path) -> Box<dyn Sink> {
    open_as(path, None)
}

fn open_as(path: &std::path::Path, colour: Option<&str>) -> Box<dyn Sink> {
    let mut table = toml::Table::from_iter([("path".to_owned(), path.to_str().expect("is UTF-8").into())]);
    table.extend(colour.map(|colour| ("colour".to_owned(), colour.into())));
    (spec().open)("test", &Settings(table)).expect("settings are right")
}

impl Lab for SqliteLab {
    fn spec(&self) -> &'static SinkSpec {
        spec()
    }

    fn open(&self) -> Box<dyn Sink> {
        open(&self.path())
    }

    fn open_coloured(&self, colour: &str) -> Box<dyn Sink> {
        open_as(&self.path(), Some(colour))
    }

    fn wipe(&mut self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn dump(&mut self) -> Vec<String> {
        let positions = ("read_model_offsets", vec!["sink", "topic", "partition", "next_offset", "event_time"]);
        let tables = TABLES.iter().map(|table| (table.name, table.columns.iter().map(|column| column.name).collect()));
        let rows = tables.chain([positions]).flat_map(|(name, columns)| {
            let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
            self.texts(format!("SELECT '{name}: ' || {} FROM {name} ORDER BY 1", quoted.join(" || ' ' || ")))
        });
        rows.collect()
    }
}

impl sql::SqlLab for SqliteLab {
    fn query(&mut self, sql: &str) -> Vec<String> {
        self.texts(sql.to_owned())
    }

    fn columns(&mut self, table: &str) -> Vec<String> {
        self.texts(format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name"))
    }
}

#[test]
fn passes_the_suite() {
    conformance::check(&mut SqliteLab::new());
}

#[test]
fn tables_follow_their_rules() {
    sql::check(&mut SqliteLab::new());
}

#[test]
fn plan_names_what_apply_does_and_creates_nothing() {
    let lab = SqliteLab::new();
    let mut sink = lab.open();
    let create = format!("create {}", lab.path().display());
    let migrations =
        ["0001_read_models", "0002_holds", "0003_aggregated_balances", "0004_dead_letter_items", "0005_exchanges"]
            .map(|migration| format!("apply migration {migration}"));
    assert_eq!(sink.plan(), Ok([vec![create], migrations.to_vec()].concat()));
    assert!(!lab.path().exists());
    let unready = sink.claim(0, "a").expect_err("there is no file");
    assert!(matches!(&unready, SinkError::Misconfigured(message) if message.contains("tidemill apply")), "{unready}");
    assert!(!lab.path().exists());
}

#[test]
fn two_processes_may_apply_at_once() {
    let lab = SqliteLab::new();
    let path = lab.path();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| open(&path).apply().expect("applies"));
        }
    });
    assert_eq!(lab.open().plan(), Ok(Vec::new()));
}

#[test]
fn a_locked_file_is_waited_for_and_then_unavailable() {
    let lab = SqliteLab::new();
    lab.open().apply().expect("applies");
    let table = toml::Table::from_iter([
        ("path".to_owned(), lab.path().to_str().expect("is UTF-8").into()),
        ("busy_timeout_ms".to_owned(), 200.into()),
    ]);
    let mut sink = (spec().open)("test", &Settings(table)).expect("settings are right");
    sink.claim(0, "a").expect("claims");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut other = runtime.block_on(async {
        let mut other = SqliteConnectOptions::new().filename(lab.path()).connect().await.expect("connects");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locks");
        other
    });
    let batch = conformance::batch(0, 0..3);
    let locked = sink.write(&batch);
    assert!(matches!(locked, Err(SinkError::Unavailable(_))), "{locked:?}");
    runtime.block_on(async { sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocks") });
    sink.write(&batch).expect("writes once the file is free");
}
