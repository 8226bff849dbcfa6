//! `docs/reference/codes.md` is made from the codes themselves. `UPDATE_GOLDEN=1` writes it.

use std::collections::BTreeMap;

use tidemill_connectors::CODES as SINK_CODES;
use tidemill_core::{CodeSpec, reject};
use tidemill_processors::PROCESSORS;
use tidemill_runtime::conditions::{CONDITIONS, Condition};
use tidemill_runtime::worker::{REDRIVE_UNADDRESSED, VALUE_SCHEMA_UNKNOWN, VALUE_UNREADABLE};
use tidemill_schemas::json::JSON_CODES;

use crate::under_test::repository;

const HEAD: &str = "# Codes

Every answer to a record that was not carried out, in alphabetical order. A code is a fact that never changes its
meaning and is never used for another: route and count by it, never by a message. `tidemill explain CODE` prints the same
text. Codes of findings in a topology file (`TM…`) are in [topology.md](topology.md). What `produce` says of a line that it
does not write is here, too: nothing of it has reached a topic.

The class decides where the record goes:

| class | what it says | where the record goes |
|---|---|---|
| `decode` | the bytes cannot be read | dead letters |
| `schema` | the bytes do not fit the schema they name | dead letters |
| `validation` | the content breaks a fixed rule | answered on the status topic; without an identity to answer to, dead letters |
| `business` | the state of the world forbids it | answered on the status topic and remembered |
| `bug` | a part of Tidemill is wrong, not the record | as the stage's `on_error` says |
| `invariant` | what must always hold does not | nowhere: the worker stops |

## All codes

| code | class | said by | what is the case | what to do |
|---|---|---|---|---|
";

const CONDITIONS_HEAD: &str = "
## Conditions

What the engine reports about itself and what it depends on: `code` in its logs, `reason` in `tidemill status` and
`/readyz`. None of them is about one record.

| code | what is the case | what to do |
|---|---|---|
";

fn page() -> String {
    let of_engine =
        [&reject::BUG, &VALUE_UNREADABLE, &VALUE_SCHEMA_UNKNOWN, &REDRIVE_UNADDRESSED].map(|code| ("engine", code));
    let of_processors = PROCESSORS.iter().flat_map(|spec| spec.codes.iter().map(|code| (spec.name, code)));
    let of_sinks = SINK_CODES.iter().map(|code| ("sinks", *code));
    let mut by_code: BTreeMap<&str, (&CodeSpec, Vec<&str>)> = BTreeMap::new();
    let of_produce = JSON_CODES.iter().map(|code| ("produce", *code));
    for (by, code) in of_engine.into_iter().chain(of_processors).chain(of_sinks).chain(of_produce) {
        by_code.entry(code.code).or_insert((code, Vec::new())).1.push(by);
    }
    let row = |(code, by): &(&CodeSpec, Vec<&str>)| {
        let by: Vec<String> = by.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "| `{}` | {} | {} | {} | {} |\n",
            code.code,
            code.class.name(),
            by.join(", "),
            code.summary,
            code.remedy
        )
    };
    let condition = |Condition { code, summary, remedy }: &Condition| format!("| `{code}` | {summary} | {remedy} |\n");
    let answers = std::iter::once(HEAD.to_owned()).chain(by_code.values().map(row));
    answers.chain([CONDITIONS_HEAD.to_owned()]).chain(CONDITIONS.iter().map(condition)).collect()
}

#[test]
fn lists_every_code_as_it_is() {
    let path = repository().join("docs/reference/codes.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let stale = found.lines().zip(page.lines()).find(|(found, expected)| found != expected);
    assert!(found == page, "{} is stale, UPDATE_GOLDEN=1 writes it anew; it differs at {stale:?}", path.display());
}
