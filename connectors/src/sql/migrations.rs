//! Versioned changes of the tables, embedded in the binary.

use std::collections::BTreeSet;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// One step, in the words of each dialect.
struct Step {
    version: i64,
    name: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        version: 1,
        name: "read_models",
        postgres: include_str!("migrations/postgres/0001_read_models.sql"),
        sqlite: include_str!("migrations/sqlite/0001_read_models.sql"),
    },
    Step {
        version: 2,
        name: "holds",
        postgres: include_str!("migrations/postgres/0002_holds.sql"),
        sqlite: include_str!("migrations/sqlite/0002_holds.sql"),
    },
    Step {
        version: 3,
        name: "aggregated_balances",
        postgres: include_str!("migrations/postgres/0003_aggregated_balances.sql"),
        sqlite: include_str!("migrations/sqlite/0003_aggregated_balances.sql"),
    },
    Step {
        version: 4,
        name: "dead_letter_items",
        postgres: include_str!("migrations/postgres/0004_dead_letter_items.sql"),
        sqlite: include_str!("migrations/sqlite/0004_dead_letter_items.sql"),
    },
    Step {
        version: 5,
        name: "exchanges",
        postgres: include_str!("migrations/postgres/0005_exchanges.sql"),
        sqlite: include_str!("migrations/sqlite/0005_exchanges.sql"),
    },
];

/// Where the database notes what has been applied. Its own name, because the database may hold other applications.
pub(crate) const TABLE: &str = "read_model_migrations";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

pub(crate) fn migrator(dialect: Dialect) -> Migrator {
    let migrations = STEPS.iter().map(|step| {
        let sql = match dialect {
            Dialect::Postgres => step.postgres,
            Dialect::Sqlite => step.sqlite,
        };
        Migration::new(step.version, step.name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Tables and views that the migrations make, each once. What one of them drops, it makes anew.
pub(crate) fn relations() -> BTreeSet<&'static str> {
    made("CREATE TABLE ").chain(made("CREATE VIEW ")).collect()
}

fn made(statement: &str) -> impl Iterator<Item = &'static str> {
    let lines = STEPS.iter().flat_map(|step| step.postgres.lines());
    lines.filter_map(move |line| line.strip_prefix(statement)?.split([' ', '(', ';']).next())
}

/// What is still to be applied, one line each.
pub(crate) fn pending(applied: &[i64]) -> Vec<String> {
    STEPS
        .iter()
        .filter(|step| !applied.contains(&step.version))
        .map(|step| format!("apply migration {:04}_{}", step.version, step.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TABLES;

    #[test]
    fn relations_are_every_table_and_view() {
        let found = relations();
        for name in TABLES.iter().map(|table| table.name).chain(["read_model_offsets", "dead_letter_items"]) {
            assert!(found.contains(name), "{name}");
        }
        assert_eq!(made("DROP TABLE ").count(), 0, "a table holds what was written");
        for view in made("DROP VIEW ") {
            let times = made("CREATE VIEW ").filter(|name| *name == view).count();
            assert!(times > 1, "{view} is made anew");
        }
    }
}
