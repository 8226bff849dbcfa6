//! `docs/reference/read-models.md` names every table, view and column of the migrations.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tidemill_connectors::CONNECTORS;
use tidemill_core::Settings;

#[test]
fn the_reference_is_complete() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("read-models.db");
    let spec = CONNECTORS.iter().find(|spec| spec.name == "sqlite").expect("is listed");
    let settings = toml::Table::from_iter([("path".to_owned(), path.to_str().expect("is UTF-8").into())]);
    (spec.open)("test", &Settings(settings)).expect("settings are right").apply().expect("applies");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/read-models.md");
    let text = std::fs::read_to_string(file).expect("the reference exists");
    let missing: Vec<String> = columns(&path)
        .into_iter()
        .filter(|(table, column)| {
            let section = text.split("\n### ").find(|section| section.starts_with(&format!("`{table}`")));
            !section.is_some_and(|section| section.contains(&format!("| `{column}` |")))
        })
        .map(|(table, column)| format!("{table}.{column}"))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "not in docs/reference/read-models.md");
}

fn columns(path: &Path) -> Vec<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rows = runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("connects");
        sqlx::query(
            "SELECT m.name AS table_name, c.name AS column_name FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type IN ('table', 'view') AND m.name NOT IN ('read_model_migrations', 'sqlite_sequence')",
        )
        .fetch_all(&mut connection)
        .await
        .expect("answers")
    });
    rows.iter().map(|row| (row.get("table_name"), row.get("column_name"))).collect()
}
