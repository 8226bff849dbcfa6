//! `dlq edit`: other values than those that failed, judged anew. The plan keeps what was changed.

use std::collections::BTreeMap;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use json_patch::Patch;
use serde_json::Value;
use tidemill_runtime::registry::SchemaRegistry;
use tidemill_runtime::replay::{Edit, Item, Letter, LoopGuard, Plan, Verdict};

use super::script::Script;
use super::{plan, visit_letters};
use crate::args::{DlqEditArgs, Global};
use crate::exit::{Exit, Failure};
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, args: &DlqEditArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut read = plan::read(&args.plan)?;
    let changed = change(&session, &mut read, &mending(args)?, args.code.as_deref(), &args.only)?;
    if changed == 0 {
        return Err(Failure::new(Exit::Findings, "no letter of the plan is meant")
            .hint("`--code` and `--only` choose among the letters of the plan."));
    }
    plan::write(&read, &args.plan)?;
    plan::show(global, &read, &args.plan)?;
    Ok(Exit::Ok)
}

/// How values are changed.
#[derive(Debug)]
pub(in crate::command) enum Mending {
    Patch(Patch),
    Script(Box<Script>),
}

impl Mending {
    /// Changes the value, and returns what it has changed as a JSON Patch.
    fn apply(&self, value: &mut Value) -> Result<Value, String> {
        let patch = match self {
            Self::Patch(patch) => {
                json_patch::patch(value, patch).map_err(|error| format!("the patch does not fit: {error}"))?;
                serde_json::to_value(patch)
            }
            Self::Script(script) => {
                let mended = script.run(value).map_err(|error| format!("the script does not fit: {error}"))?;
                let patch = serde_json::to_value(json_patch::diff(value, &mended));
                *value = mended;
                patch
            }
        };
        patch.map_err(|error| error.to_string())
    }
}

/// Changes the letters of the plan that are meant, and judges them anew. Returns how many those are.
pub(in crate::command) fn change(
    session: &Session,
    plan: &mut Plan,
    mending: &Mending,
    code: Option<&str>,
    only: &[String],
) -> Result<usize, Failure> {
    let mut validator = plan::validator(session);
    let items: BTreeMap<(u32, u64), &Item> =
        plan.items.iter().map(|item| ((item.partition, item.offset), item)).collect();
    let is_meant = |item: &Item| {
        let place = format!("{}@{}", item.partition, item.offset);
        code.is_none_or(|wanted| wanted == item.code) && (only.is_empty() || only.contains(&place))
    };
    let mut judged = BTreeMap::new();
    visit_letters(session, Some(&plan.topic), &plan.filter, |letter, _| {
        let place = (letter.place.partition, letter.place.offset);
        let Some(item) = items.get(&place).filter(|item| is_meant(item)) else { return Ok(()) };
        let before = item.edit.as_ref().map(Edit::value);
        let (value, patch) = edited(session.registry.as_ref(), &letter, before, mending)?;
        let edit = Edit::new(&value, patch);
        // What was guarded stays so; what somebody has let pass may.
        let loops = match item.verdict {
            Verdict::Guarded(_) => LoopGuard::On,
            Verdict::Passes | Verdict::Fails { .. } => LoopGuard::Off,
        };
        judged.insert(place, validator.judge(&letter, &plan.destination, loops, Some(edit))?);
        Ok(())
    })?;
    let changed = judged.len();
    for item in &mut plan.items {
        if let Some(judged) = judged.remove(&(item.partition, item.offset)) {
            *item = judged;
        }
    }
    plan.seal();
    Ok(changed)
}

fn mending(args: &DlqEditArgs) -> Result<Mending, Failure> {
    let wrong = |what: String| Failure::new(Exit::Usage, what);
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())));
    if let Some(path) = &args.script {
        let script = Script::compile(&read(path)?).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        return Ok(Mending::Script(Box::new(script)));
    }
    if let Some(path) = &args.patch {
        let patch = serde_json::from_str(&read(path)?).map_err(|error| {
            wrong(format!("{}: {error}", path.display())).hint("A JSON Patch is a list of operations.")
        })?;
        return Ok(Mending::Patch(patch));
    }
    let mut operations = Vec::new();
    for (pointer, value) in &args.value {
        let value: Value = serde_json::from_str(value).map_err(|error| {
            wrong(format!("`{value}` is not JSON: {error}")).hint("Text stands between double quotes.")
        })?;
        operations.push(serde_json::json!({"op": "add", "path": pointer, "value": value}));
    }
    let patch = serde_json::from_value(Value::Array(operations)).map_err(|error| wrong(format!("--value: {error}")))?;
    Ok(Mending::Patch(patch))
}

/// The changed value, in the encoding of the one that failed, and what was changed.
fn edited(
    registry: &dyn SchemaRegistry,
    letter: &Letter,
    before: Option<Vec<u8>>,
    mending: &Mending,
) -> Result<(Vec<u8>, Value), Failure> {
    let bytes = before.or_else(|| letter.value.clone()).unwrap_or_default();
    let place = format!("{} {}@{}", letter.place.topic, letter.place.partition, letter.place.offset);
    let wrong = |what: String| {
        Failure::new(Exit::Findings, format!("{place}: {what}")).hint("`--only` and `--code` leave letters out.")
    };
    let schema = match bytes.split_first_chunk::<5>() {
        Some(([0, id @ ..], _)) => {
            let id = u32::from_be_bytes(*id);
            let text = registry.schema(id).map_err(|error| wrong(format!("schema {id}: {error}")))?;
            Some((id, Schema::parse_str(&text).map_err(|error| wrong(format!("schema {id}: {error}")))?))
        }
        _ => None,
    };
    let mut value: Value = match &schema {
        Some((_, schema)) => avro_to_json(schema, bytes.get(5..).unwrap_or_default()).map_err(wrong)?,
        None => serde_json::from_slice(&bytes).map_err(|error| wrong(format!("its value is not JSON: {error}")))?,
    };
    let patch = mending.apply(&mut value).map_err(wrong)?;
    match schema {
        Some((id, schema)) => {
            let datum = json_to_avro(&schema, value).map_err(wrong)?;
            Ok(([&[0], id.to_be_bytes().as_slice(), &datum].concat(), patch))
        }
        None => Ok((serde_json::to_vec(&value).map_err(|error| wrong(error.to_string()))?, patch)),
    }
}

fn avro_to_json(schema: &Schema, mut datum: &[u8]) -> Result<Value, String> {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build();
    let decoded = reader.and_then(|reader| reader.read_value(&mut datum)).map_err(|error| error.to_string())?;
    decoded.try_into().map_err(|error: apache_avro::Error| error.to_string())
}

fn json_to_avro(schema: &Schema, value: Value) -> Result<Vec<u8>, String> {
    let plain = apache_avro::to_value(value).map_err(|error| error.to_string())?;
    let resolved = plain.resolve(schema).map_err(|error| error.to_string())?;
    let mut datum = Vec::new();
    let writer = GenericDatumWriter::builder(schema).build();
    writer.and_then(|writer| writer.write_value(&mut datum, resolved)).map_err(|error| error.to_string())?;
    Ok(datum)
}
