//! `tidemill generate`: seeded payments or accounts as lines, ready for `tidemill produce`.

use std::io::{BufWriter, Write};

use crate::args::{GenerateArgs, Generated};
use crate::exit::{Exit, Failure};
use crate::generator;

pub(super) fn run(args: &GenerateArgs) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let records: Box<dyn Iterator<Item = generator::GeneratedRecord>> = match args.what {
        Generated::Accounts => Box::new(generator::accounts(args.accounts)),
        Generated::Payments => {
            let count = usize::try_from(args.payments).unwrap_or(usize::MAX);
            Box::new(generator::Payments::new(args.seed, args.accounts).take(count))
        }
    };
    for record in records {
        // A line ends a record, and these broken ones hold none.
        let written = out.write_all(&record.value).and_then(|()| out.write_all(b"\n"));
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            result => result?,
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
