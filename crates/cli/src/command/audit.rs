//! `tidemill audit`: what operators have done, and whether the trail of it is whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use rand::TryRngCore as _;
use serde_json::json;
use tidemill_audit::{Checkpoint, Entry, Finding, Keys, Verifier};
use tidemill_core::EventTime;
use tidemill_runtime::operator::{read_trail, verify_trail};

use crate::args::{AuditCommand, Global};
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, command: &AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Ls { limit, verb } => list(global, *limit, verb.as_deref()),
        AuditCommand::Verify { checkpoints, public_key } => {
            verify(global, checkpoints.as_deref(), public_key.as_deref())
        }
        AuditCommand::Keygen { file } => keygen(global, file),
        AuditCommand::Checkpoint { key, to } => checkpoint(global, key, to),
    }
}

fn list(global: &Global, limit: Option<usize>, verb: Option<&str>) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut entries = Vec::new();
    let mut verbs = BTreeSet::new();
    read_trail(session.broker.as_ref(), &session.topology, |_, entry| {
        verbs.insert(entry.verb.clone());
        if verb.is_none_or(|verb| verb == entry.verb) {
            entries.push(entry);
        }
    })?;
    if let (Some(verb), true) = (verb, entries.is_empty()) {
        let failure = Failure::new(Exit::Findings, format!("there is no entry about `{verb}`"));
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        return Err(failure.hint(if verbs.is_empty() {
            "Nobody has done anything yet.".to_owned()
        } else {
            format!("There are entries about {verbs}.")
        }));
    }
    let first = entries.len().saturating_sub(limit.unwrap_or(usize::MAX));
    print(global, entries.get(first..).unwrap_or_default())?;
    Ok(Exit::Ok)
}

pub(super) fn print(global: &Global, entries: &[Entry]) -> Result<(), Failure> {
    if global.json {
        return output::json(entries);
    }
    let row = |entry: &Entry| {
        let counts: Vec<String> =
            entry.counts.iter().map(|(name, number)| format!("{name} {}", count(*number))).collect();
        vec![
            entry.sequence.to_string(),
            EventTime::from_millis(entry.at_ms).to_string(),
            entry.actor.clone(),
            entry.verb.clone(),
            entry.outcome.name().to_owned(),
            entry.object.clone(),
            counts.join(", "),
            entry.reason.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    output::table(&["number", "at", "by", "what", "outcome", "to what", "counts", "reason"], &rows)
}

fn verify(global: &Global, checkpoints: Option<&Path>, public_key: Option<&Path>) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let verifier = verify_trail(session.broker.as_ref(), &session.topology)?;
    let mut findings: Vec<Finding> = verifier.findings().to_vec();
    let mut signed = 0;
    if let (Some(file), Some(key)) = (checkpoints, public_key) {
        let key = read(key)?;
        for (number, line) in read(file)?.lines().enumerate() {
            let wrong = |error| Failure::new(Exit::Findings, format!("{}:{}: {error}", file.display(), number + 1));
            let checkpoint = Checkpoint::open(line, &key).map_err(wrong)?;
            findings.extend(checkpoint.compare(trail(&session), &verifier));
            signed += 1;
        }
    }
    report(global, trail(&session), &verifier, &findings, signed)?;
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// Topic of the trail.
fn trail(session: &Session) -> &str {
    &session.topology.pipeline.audit_topic
}

/// What was covered, then what does not belong.
fn report(global: &Global, trail: &str, verifier: &Verifier, findings: &[Finding], signed: u64) -> Result<(), Failure> {
    let coverage = verifier.coverage();
    let time =
        |at_ms: Option<i64>| at_ms.map_or_else(|| "-".to_owned(), |at_ms| EventTime::from_millis(at_ms).to_string());
    if global.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| json!({"kind": finding.kind.name(), "offset": finding.offset, "message": finding.message}))
            .collect();
        return output::json(&json!({
            "event": "result", "holds": findings.is_empty(), "topic": trail, "entries": coverage.entries,
            "first_at": time(coverage.first_at_ms), "last_at": time(coverage.last_at_ms),
            "last_sequence": coverage.head.sequence, "last_hash": coverage.head.hash_text(), "checkpoints": signed,
            "findings": findings,
        }));
    }
    let (first, last) = (time(coverage.first_at_ms), time(coverage.last_at_ms));
    output::line(&format!("{trail}: {} entries from {first} to {last}", count(coverage.entries)))?;
    output::line(&format!("last: number {}, {}", coverage.head.sequence, coverage.head.hash_text()))?;
    if signed > 0 {
        output::line(&format!("{} signed checkpoints compared", count(signed)))?;
    }
    for finding in findings {
        output::line(&format!("DOES NOT BELONG  {finding}"))?;
    }
    if findings.is_empty() {
        output::line("The trail is whole.")?;
    }
    Ok(())
}

fn keygen(global: &Global, file: &Path) -> Result<Exit, Failure> {
    let mut seed = [0; 32];
    let failure = |error| Failure::new(Exit::Findings, format!("no random bytes: {error}"));
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(failure)?;
    let keys = Keys::from_seed(seed);
    let public = file.with_added_extension("pub");
    write_new(file, &keys.secret_text(), 0o600)?;
    write_new(&public, &keys.public_text(), 0o644)?;
    if global.json {
        output::json(&json!({"event": "result", "public_key": keys.public_text()}))?;
    } else {
        output::line(&format!("{} is secret; {} is for those who verify", file.display(), public.display()))?;
    }
    Ok(Exit::Ok)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Refused, format!("{}: {error}", path.display())).hint("A key is never written over.")
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failure)?;
    writeln!(file, "{text}").map_err(failure)
}

fn checkpoint(global: &Global, key: &Path, to: &Path) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let keys = Keys::parse(&read(key)?).map_err(|error| {
        Failure::new(Exit::Usage, format!("{}: {error}", key.display())).hint("`tidemill audit keygen` makes one.")
    })?;
    let verifier = verify_trail(session.broker.as_ref(), &session.topology)?;
    if !verifier.findings().is_empty() {
        report(global, trail(&session), &verifier, verifier.findings(), 0)?;
        return Err(Failure::new(Exit::Findings, "the trail is not whole, so nothing was signed"));
    }
    let signed = Checkpoint::sign(trail(&session), verifier.coverage().head, session.clock.unix_ms(), &keys);
    let line = serde_json::to_string(&signed).map_err(|error| Failure::new(Exit::Findings, error))?;
    let failure = |error: std::io::Error| Failure::new(Exit::Findings, format!("{}: {error}", to.display()));
    let mut file = fs::OpenOptions::new().append(true).create(true).open(to).map_err(failure)?;
    writeln!(file, "{line}").map_err(failure)?;
    file.sync_all().map_err(failure)?;
    if global.json {
        output::json(&signed)?;
    } else {
        output::line(&format!("number {} signed, {}", signed.sequence, signed.hash))?;
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))
}
