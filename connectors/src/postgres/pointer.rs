//! Schema `live`: views on the tables of the pipeline that is live, and the comment that says in which schema those are.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tidemill_core::SinkError;

use super::config::Config;
use super::failure::Failure;
use crate::sql::migrations;

pub(super) const SCHEMA: &str = "live";

/// Whether the sink's tables are the ones that `live` has to show, and it shows nothing yet.
pub(super) async fn is_missing(schema: Option<&str>, connection: &mut PgConnection) -> Result<bool, Failure> {
    Ok(schema.is_none() && shown(connection).await?.is_none())
}

pub(super) async fn create_schema(schema: Option<&str>, connection: &mut PgConnection) -> Result<(), Failure> {
    let Some(schema) = schema else { return Ok(()) };
    execute(connection, format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"")).await
}

/// After a migration: shows what it has added. The tables of a pipeline that is not live are shown to nobody.
pub(super) async fn refresh(schema: Option<&str>, connection: &mut PgConnection) -> Result<(), Failure> {
    let is_ours = match shown(connection).await? {
        None => schema.is_none(),
        Some(shown) => shown == own(connection).await?,
    };
    if is_ours { turn(schema, connection).await } else { Ok(()) }
}

/// Has `live` show the sink's tables: all of them in one transaction, so that nobody sees some of each.
pub(super) async fn turn(_schema: Option<&str>, connection: &mut PgConnection) -> Result<(), Failure> {
    let own = own(connection).await?;
    let mut transaction = connection.begin().await?;
    // Two that turn at once would each find a view missing.
    execute(&mut transaction, "SELECT pg_advisory_xact_lock(hashtext('tidemill.live'))".to_owned()).await?;
    execute(&mut transaction, format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")).await?;
    for name in migrations::relations() {
        let view = format!("CREATE OR REPLACE VIEW {SCHEMA}.{name} AS SELECT * FROM \"{own}\".{name}");
        execute(&mut transaction, view).await?;
    }
    execute(&mut transaction, format!("COMMENT ON SCHEMA {SCHEMA} IS '{own}'")).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn drop_schema(config: &Config, connection: &mut PgConnection) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::Sink(SinkError::Misconfigured(message.to_owned())));
    let Some(schema) = &config.schema else { return refused("only the tables of a colour can be removed") };
    if shown(connection).await?.as_ref() == Some(schema) {
        return refused("these tables are the live ones");
    }
    execute(connection, format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE")).await
}

/// Schema whose tables `live` shows.
async fn shown(connection: &mut PgConnection) -> Result<Option<String>, Failure> {
    let sql = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
    let found: Option<Option<String>> = sqlx::query_scalar(sql).bind(SCHEMA).fetch_optional(connection).await?;
    Ok(found.flatten())
}

/// Schema of the sink's own tables.
async fn own(connection: &mut PgConnection) -> Result<String, Failure> {
    let found: Option<String> = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(connection).await?;
    let missing = || SinkError::Misconfigured("the user's search_path names no schema that exists".to_owned());
    let own = found.ok_or_else(missing)?;
    if own.contains(['"', '\'']) {
        let message = format!("schema {own:?} cannot be shown: its name holds quotes");
        return Err(SinkError::Misconfigured(message).into());
    }
    Ok(own)
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<(), Failure> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
