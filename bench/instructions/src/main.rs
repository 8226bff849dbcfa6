//! Counts the instructions that each step of the pipeline takes for a record, and compares them with a table that is kept
//! in the repository: a step that has become more than a tenth dearer is found before it is merged, on any machine and
//! however busy it is.
//!
//! `check` runs this program again under callgrind, with the verb `run`, and reads one count for each [`count::counted`].

mod callgrind;
mod count;
mod pipeline;
mod requests;
mod stores;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::table::Table;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str =
    "usage: instructions check    compares with docs/benchmarks/instructions.md; UPDATE_GOLDEN=1 renews it
       instructions run      runs every step once; to be counted by callgrind";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["check"] => check(),
        ["run"] => run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    pipeline::run()?;
    stores::run()
}

fn check() -> Result<()> {
    let file = repository().join("docs/benchmarks/instructions.md");
    let counted = Table::new(callgrind::count()?);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, counted.render())?;
        println!("{} is renewed", file.display());
        return Ok(());
    }
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let kept = Table::parse(&text)?;
    let findings = kept.compare(&counted);
    if findings.is_empty() {
        println!("{} steps take as many instructions as they did", counted.len());
        return Ok(());
    }
    Err(format!("{}\n{}", findings.join("\n"), table::ADVICE).into())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}
