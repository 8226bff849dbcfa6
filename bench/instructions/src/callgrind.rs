//! Runs this program under callgrind.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::table::Line;

/// The one function of [`crate::count`] that is counted, however the compiler spells what stands around its name. Of two
/// options with the same pattern callgrind heeds only the last, so there are two patterns.
const COUNT_IN: &str = "*count::counted*";
const DUMP_AFTER: &str = "*::counted*";
const SUMMARY: &str = "summary: ";

/// Instructions per record of every step, in the order in which they run.
pub(crate) fn count() -> Result<Vec<Line>> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={COUNT_IN}"))
        .arg(format!("--dump-after={DUMP_AFTER}"))
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .arg("run")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("valgrind cannot be run ({error}); on Debian: apt-get install valgrind"))?;
    if !output.status.success() {
        return Err(format!("the program under callgrind ended with {}", output.status).into());
    }
    let steps = String::from_utf8(output.stdout)?;
    // One file for each time that the function was left, numbered from 1.
    steps.lines().zip(1..).map(|(step, number)| line(step, &folder.path().join(format!("counts.{number}")))).collect()
}

fn line(step: &str, counts: &Path) -> Result<Line> {
    let (name, records) = step.split_once(' ').ok_or("a step without its number of records")?;
    let records: u64 = records.parse()?;
    let text = std::fs::read_to_string(counts).map_err(|error| format!("the counts of {name}: {error}"))?;
    let summary = text.lines().find_map(|line| line.strip_prefix(SUMMARY));
    let instructions: u64 = summary.ok_or_else(|| format!("the counts of {name} have no sum"))?.trim().parse()?;
    if records == 0 || instructions == 0 {
        return Err(format!("{name} took {instructions} instructions for {records} records").into());
    }
    Ok(Line { step: name.to_owned(), instructions: instructions / records })
}
