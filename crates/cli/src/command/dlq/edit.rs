//! `dlq edit`: other values than those that failed, judged anew. The plan keeps what was changed.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use json_patch::Patch;
use serde_json::Value;
use tidemill_runtime::registry::SchemaRegistry;
use tidemill_runtime::replay::{Edit, Item, Letter, LoopGuard, Plan, Verdict};

use super::{plan, visit_letters};
use crate::args::{DlqEditArgs, Global};
use crate::exit::{Exit, Failure};
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, args: &DlqEditArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut read = plan::read(&args.plan)?;
    let changed = change(&session, &mut read, &patch_of(args)?, args.code.as_deref(), &args.only)?;
    if changed == 0 {
        return Err(Failure::new(Exit::Findings, "no letter of the plan is meant")
            .hint("`--code` and `--only` choose among the letters of the plan."));
    }
    plan::write(&read, &args.plan)?;
    plan::show(global, &read, &args.plan)?;
    Ok(Exit::Ok)
}

/// Applies the patch to the letters of the plan that are meant, and judges them anew. Returns how many those are.
pub(in crate::command) fn change(
    session: &Session,
    plan: &mut Plan,
    patch: &Patch,
    code: Option<&str>,
    only: &[String],
) -> Result<usize, Failure> {
    let patch_json = serde_json::to_value(patch).unwrap_or_default();
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
        let value = edited(session.registry.as_ref(), &letter, before, patch)?;
        let edit = Edit::new(&value, patch_json.clone());
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

fn patch_of(args: &DlqEditArgs) -> Result<Patch, Failure> {
    let wrong = |what: String| Failure::new(Exit::Usage, what);
    if let Some(path) = &args.patch {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        return serde_json::from_str(&text).map_err(|error| {
            wrong(format!("{}: {error}", path.display())).hint("A JSON Patch is a list of operations.")
        });
    }
    let mut operations = Vec::new();
    for (pointer, value) in &args.value {
        let value: Value = serde_json::from_str(value).map_err(|error| {
            wrong(format!("`{value}` is not JSON: {error}")).hint("Text stands between double quotes.")
        })?;
        operations.push(serde_json::json!({"op": "add", "path": pointer, "value": value}));
    }
    serde_json::from_value(Value::Array(operations)).map_err(|error| wrong(format!("--value: {error}")))
}

/// The changed value, in the encoding of the one that failed.
fn edited(
    registry: &dyn SchemaRegistry,
    letter: &Letter,
    before: Option<Vec<u8>>,
    patch: &Patch,
) -> Result<Vec<u8>, Failure> {
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
    json_patch::patch(&mut value, patch).map_err(|error| wrong(format!("the patch does not fit: {error}")))?;
    match schema {
        Some((id, schema)) => {
            let datum = json_to_avro(&schema, value).map_err(wrong)?;
            Ok([&[0], id.to_be_bytes().as_slice(), &datum].concat())
        }
        None => serde_json::to_vec(&value).map_err(|error| wrong(error.to_string())),
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
