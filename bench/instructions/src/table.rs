//! The table in the repository, and what has changed since it was written.

use std::fmt::Write as _;

use crate::Result;

/// Counts may differ by so much, in percent, before somebody has to look.
const TOLERANCE_PERCENT: u64 = 10;

pub(crate) const ADVICE: &str = "If this is meant, or the compiler is another one, renew the table: UPDATE_GOLDEN=1 make guard\n\
     To see where the instructions go: valgrind --tool=callgrind --toggle-collect='*count::counted*' \
     target/release/instructions run, then callgrind_annotate";

const HEAD: &str = "\
# Instructions per record

Written by `UPDATE_GOLDEN=1 make guard`. `make guard`, which is part of `make test`, counts them again and fails where a
step takes over 10 % more, or so much less that the table no longer guards it. Callgrind counts a release build, so load
and clock of the machine do not matter.

Steps are named by the topic whose records they take: `decode` and `encode` are Avro with the header of the wire format,
the others are the processors of `topology.toml`, each as a chain of its own. `store` is the state of a task: `get` is
answered from memory, `get_on_disk` after the store has been opened anew, and `commit` hands a transaction over to it.

";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) step: String,
    /// Per record.
    pub(crate) instructions: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table(Vec<Line>);

impl Table {
    pub(crate) fn new(lines: Vec<Line>) -> Self {
        Self(lines)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn render(&self) -> String {
        let mut out = format!("{HEAD}| step | instructions |\n|---|---|\n");
        for Line { step, instructions } in &self.0 {
            let _infallible = writeln!(out, "| `{step}` | {instructions} |");
        }
        out
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let parse = |row: &str| {
            let (step, rest) =
                row.split_once("` | ").ok_or_else(|| format!("the table has a row without a step: {row}"))?;
            let instructions = rest.trim_end_matches(" |").parse();
            let instructions = instructions.map_err(|error| format!("the table has no number for {step}: {error}"))?;
            Ok(Line { step: step.to_owned(), instructions })
        };
        rows.map(parse).collect::<Result<Vec<_>>>().map(Self)
    }

    /// What somebody has to look at, one finding a step.
    pub(crate) fn compare(&self, counted: &Self) -> Vec<String> {
        let now = counted.0.iter().filter_map(|line| match self.find(&line.step) {
            None => Some(format!("{} is not in the table", line.step)),
            Some(before) => judge(&line.step, before, line.instructions),
        });
        let gone = self.0.iter().filter(|line| counted.find(&line.step).is_none());
        now.chain(gone.map(|line| format!("{} is in the table and was not run", line.step))).collect()
    }

    fn find(&self, step: &str) -> Option<u64> {
        self.0.iter().find(|line| line.step == step).map(|line| line.instructions)
    }
}

fn judge(step: &str, before: u64, now: u64) -> Option<String> {
    let difference = now.abs_diff(before);
    let percent = difference * 100 / before.max(1);
    let is_within = difference * 100 <= before * TOLERANCE_PERCENT;
    match now > before {
        _ if is_within => None,
        true => Some(format!("{step} is {percent} % slower: {now} instructions, {before} before")),
        false => {
            Some(format!("{step} is {percent} % faster: {now} instructions, {before} before; the table is out of date"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[(&str, u64)]) -> Table {
        Table(
            lines
                .iter()
                .map(|(step, instructions)| Line { step: (*step).to_owned(), instructions: *instructions })
                .collect(),
        )
    }

    #[test]
    fn a_tenth_is_let_pass_and_more_is_named() {
        let kept = table(&[("decode", 10_000), ("encode", 10_000), ("score", 10_000), ("gone", 1)]);
        let counted = table(&[("decode", 11_000), ("encode", 11_001), ("score", 8_999), ("new", 1)]);
        assert_eq!(
            kept.compare(&counted),
            [
                "encode is 10 % slower: 11001 instructions, 10000 before",
                "score is 10 % faster: 8999 instructions, 10000 before; the table is out of date",
                "new is not in the table",
                "gone is in the table and was not run",
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kept = table(&[("payments.requested.v1/decode_payment", 12_345), ("store/get", 6)]);
        assert_eq!(Table::parse(&kept.render()).expect("it was just written"), kept);
        assert!(Table::parse("| `decode` | many |").is_err());
    }
}
