//! The JSON Schema and the generated parts of the reference page are what the code says.

use crate::support::{golden, repository};
use tidemill_core::Severity;
use tidemill_topology::{Key, Presence, codes, json_schema, keys};

#[test]
fn schema_for_editors_is_fresh() {
    let text = format!("{:#}\n", json_schema());
    let path = repository().join("docs/reference/topology.schema.json");
    golden(&path, &text).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn reference_page_lists_every_key_and_every_code() {
    let path = repository().join("docs/reference/topology.md");
    let page = std::fs::read_to_string(&path).expect("the page exists");
    let page = replace_section(&page, "keys", &key_tables());
    let page = replace_section(&page, "codes", &code_tables());
    golden(&path, &page).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn every_key_is_described() {
    let silent: Vec<String> = keys()
        .into_iter()
        .filter(|key| key.description.is_empty())
        .map(|key| format!("{}.{}", key.table, key.name))
        .collect();
    assert!(silent.is_empty(), "without description: {silent:?}");
}

/// Puts `content` between the markers of the section.
fn replace_section(page: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin generated {name} -->\n"), format!("<!-- end generated {name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has the section");
    let (_, after) = rest.split_once(&end).expect("the section ends");
    format!("{before}{begin}\n{content}{end}{after}")
}

fn key_tables() -> String {
    let mut text = String::new();
    let mut table = None;
    for key in keys() {
        if table.as_ref() != Some(&key.table) {
            text.push_str(&format!("### {}\n\n| Key | Default | Meaning |\n|---|---|---|\n", heading(&key)));
            table = Some(key.table.clone());
        }
        let default = match &key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => String::new(),
            Presence::Default(value) => format!("`{value}`"),
        };
        text.push_str(&format!("| `{}` | {default} | {} |\n", key.name, key.description));
    }
    text.replace("|\n###", "|\n\n###") + "\n"
}

/// As the table is written in the file.
fn heading(key: &Key) -> String {
    match key.table.as_str() {
        "" => "Top level".to_owned(),
        "unit" | "stage" | "stage.input" | "sink" => format!("`[[{}]]`", key.table),
        table => format!("`[{}]`", table.replace("<name>", "\"<topic>\"")),
    }
}

fn code_tables() -> String {
    let mut text = String::from("| Code | | What is the case | What to do |\n|---|---|---|---|\n");
    for code in codes::ALL {
        let severity = match code.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("| `{}` | {severity} | {} | {} |\n", code.code, code.summary, code.remedy));
    }
    text + "\n"
}
