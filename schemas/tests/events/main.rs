//! Every kind of event against its schema: bytes, fields, evolution, hostile input.

mod from_json;
mod samples;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use samples::{Sample, samples};
use serde_json::{Value as Json, json};
use tidemill_core::{AnyEvent, DecodeError, EventCodec};
use tidemill_schemas::{CODECS, PaymentRequest};

fn encode(event: &AnyEvent) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap_or_else(|error| panic!("{:?}: {error}", event.kind()));
    bytes
}

fn decode(codec: &EventCodec, schema: &str, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
    let decoder = (codec.decoder)(schema).unwrap_or_else(|error| panic!("{codec:?}: {error}"));
    decoder.decode(bytes)
}

fn assert_same(codec: &EventCodec, decoded: Result<AnyEvent, DecodeError>, expected: &AnyEvent) {
    let decoded = decoded.unwrap_or_else(|error| panic!("{codec:?}: {error}"));
    assert_eq!(format!("{decoded:?}"), format!("{expected:?}"), "{codec:?}");
}

fn schema_json(codec: &EventCodec) -> Json {
    serde_json::from_str(codec.schema).unwrap_or_else(|error| panic!("{codec:?}: {error}"))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_kind_has_one_codec_one_schema_file_and_a_sample() {
    let named: Vec<&str> = CODECS.iter().map(|codec| codec.kind.name).collect();
    let unique: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(unique.len(), named.len(), "a kind occurs twice");
    let sampled: BTreeSet<&str> = samples().iter().map(|sample| sample.codec.kind.name).collect();
    assert_eq!(sampled, unique);
    let files = std::fs::read_dir(folder("avro")).expect("the folder of schemas exists");
    let files: BTreeSet<String> =
        files.map(|file| file.expect("is readable").file_name().to_string_lossy().into_owned()).collect();
    let expected: BTreeSet<String> =
        CODECS.iter().map(|codec| format!("{}.v{}.avsc", codec.kind.name, codec.version)).collect();
    assert_eq!(files, expected);
}

#[test]
fn events_survive_the_round_trip() {
    for Sample { codec, full, sparse, .. } in &samples() {
        for event in [full, sparse] {
            let bytes = encode(event);
            assert_same(codec, decode(codec, codec.schema, &bytes), event);
            assert_eq!(event.kind(), codec.kind);
        }
    }
}

/// The reference implementation reads all of the bytes, and writes the same ones for what it has read.
#[test]
fn the_reference_implementation_agrees_on_the_bytes() {
    for Sample { codec, full, sparse, .. } in &samples() {
        let schema = Schema::parse_str(codec.schema).expect("is a schema");
        let reader = GenericDatumReader::builder(&schema).build().expect("resolves");
        let writer = GenericDatumWriter::builder(&schema).build().expect("resolves");
        for event in [full, sparse] {
            let bytes = encode(event);
            let mut rest = bytes.as_slice();
            let value = reader.read_value(&mut rest).unwrap_or_else(|error| panic!("{codec:?}: {error}"));
            assert!(rest.is_empty(), "{codec:?}");
            assert_eq!(writer.write_value_to_vec(value).expect("fits"), bytes, "{codec:?}");
        }
    }
}

/// Bytes that were once written stay readable, and the same event gives the same bytes for ever.
#[test]
fn golden_bytes() {
    for Sample { codec, full, .. } in &samples() {
        let path = folder("fixtures").join(format!("{}.v{}.bin", codec.kind.name, codec.version));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, encode(full)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        let golden = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
        assert_eq!(encode(full), golden, "{codec:?}: UPDATE_GOLDEN=1 only if the version was never published");
        assert_same(codec, decode(codec, codec.schema, &golden), full);
    }
}

#[test]
fn the_fields_of_a_type_are_those_of_its_schema() {
    for Sample { codec, json, .. } in &samples() {
        same_fields(codec.kind.name, &schema_json(codec), json);
    }
}

/// Names and order, all the way down.
fn same_fields(path: &str, schema: &Json, value: &Json) {
    let schema = match schema {
        Json::Array(variants) => variants.iter().find(|variant| **variant != "null").expect("a variant besides null"),
        other => other,
    };
    match schema["type"].as_str() {
        Some("record") => {
            let fields = schema["fields"].as_array().expect("a record has fields");
            let declared: BTreeSet<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
            let value = value.as_object().unwrap_or_else(|| panic!("{path} is no record"));
            let given: BTreeSet<&str> = value.keys().map(String::as_str).collect();
            assert_eq!(given, declared, "{path}");
            for field in fields {
                let name = field["name"].as_str().expect("a field has a name");
                same_fields(&format!("{path}.{name}"), &field["type"], &value[name]);
            }
        }
        Some("array") => {
            for item in value.as_array().unwrap_or_else(|| panic!("{path} is no array")) {
                same_fields(path, &schema["items"], item);
            }
        }
        _ => {}
    }
}

#[test]
fn schemas_keep_the_rules() {
    for codec in CODECS {
        let schema = schema_json(codec);
        assert_eq!(schema["namespace"], "tidemill", "{codec:?}");
        keeps_the_rules(codec.kind.name, &schema);
    }
}

/// No floating point, docs on every record and field, nullable fields null by default, enums open to new symbols.
fn keeps_the_rules(path: &str, schema: &Json) {
    match schema {
        Json::String(name) => assert!(!["float", "double"].contains(&name.as_str()), "{path} is floating point"),
        Json::Array(variants) => variants.iter().for_each(|variant| keeps_the_rules(path, variant)),
        Json::Object(_) => {
            let kind = schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type"));
            keeps_the_rules(path, &schema["type"]);
            if ["record", "enum"].contains(&kind) {
                assert!(schema["doc"].is_string(), "{path} has no doc");
            }
            if kind == "enum" {
                assert_eq!(schema["default"], "unknown", "{path}: readers of this version meet new symbols");
            }
            for nested in ["items", "values"] {
                if !schema[nested].is_null() {
                    keeps_the_rules(path, &schema[nested]);
                }
            }
            for field in schema["fields"].as_array().into_iter().flatten() {
                let path = format!("{path}.{}", field["name"].as_str().expect("a field has a name"));
                assert!(field["doc"].is_string(), "{path} has no doc");
                if field["type"].is_array() {
                    assert_eq!(field["type"][0], "null", "{path}");
                    assert_eq!(field.get("default"), Some(&Json::Null), "{path}");
                }
                keeps_the_rules(&path, &field["type"]);
            }
        }
        other => panic!("{path}: {other} is no schema"),
    }
}

/// A later version adds an optional field; this version's type skips it.
#[test]
fn an_unknown_optional_field_is_skipped() {
    let added = [
        (json!(["null", "string"]), vec![0x02, 0x04, b'h', b'i']),
        (json!(["null", "string"]), vec![0x00]),
        (json!({"type": "array", "items": "long"}), vec![0x02, 0x08, 0x00]),
        (json!(["null", {"type": "map", "values": "boolean"}]), vec![0x02, 0x02, 0x02, b'k', 0x01, 0x00]),
    ];
    for Sample { codec, full, .. } in &samples() {
        for (field_type, field_bytes) in &added {
            let mut schema = schema_json(codec);
            let fields = schema["fields"].as_array_mut().expect("a record has fields");
            fields.push(json!({"name": "added_later", "type": field_type}));
            let bytes = [encode(full), field_bytes.clone()].concat();
            assert_same(codec, decode(codec, &schema.to_string(), &bytes), full);
        }
    }
}

/// An earlier version lacked an optional field; this version's type reads it as absent.
#[test]
fn a_missing_optional_field_is_absent() {
    let mut removed_count = 0;
    for Sample { codec, sparse, .. } in &samples() {
        let schema = Schema::parse_str(codec.schema).expect("is a schema");
        let reader = GenericDatumReader::builder(&schema).build().expect("resolves");
        let value = reader.read_value(&mut encode(sparse).as_slice()).expect("is readable");
        let Value::Record(fields) = value else { panic!("{codec:?} is no record") };
        let json = schema_json(codec);
        let declared = json["fields"].as_array().expect("a record has fields");
        for removed in (0..declared.len()).filter(|index| declared[*index]["type"].is_array()) {
            let mut earlier = json.clone();
            earlier["fields"].as_array_mut().expect("a record has fields").remove(removed);
            let earlier_schema = Schema::parse(&earlier).expect("is a schema");
            let mut earlier_fields = fields.clone();
            earlier_fields.remove(removed);
            let writer = GenericDatumWriter::builder(&earlier_schema).build().expect("resolves");
            let bytes = writer.write_value_to_vec(Value::Record(earlier_fields)).expect("fits");
            assert_same(codec, decode(codec, &earlier.to_string(), &bytes), sparse);
            removed_count += 1;
        }
    }
    assert!(removed_count > 20, "only {removed_count} fields were tried");
}

#[test]
fn a_new_enum_symbol_is_compatible_both_ways() {
    for codec in CODECS.iter().filter(|codec| codec.schema.contains("\"enum\"")) {
        let mut later = schema_json(codec);
        add_symbol(&mut later);
        let now = Schema::parse_str(codec.schema).expect("is a schema");
        let later = Schema::parse(&later).expect("is a schema");
        let compatibility = SchemaCompatibility::mutual_read(&now, &later);
        assert_eq!(compatibility.map_err(|error| error.to_string()), Ok(Compatibility::Full), "{codec:?}");
    }
}

fn add_symbol(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if let Some(symbols) = members.get_mut("symbols").and_then(Json::as_array_mut) {
                symbols.push(json!("added_later"));
            }
            members.values_mut().for_each(add_symbol);
        }
        Json::Array(items) => items.iter_mut().for_each(add_symbol),
        _ => {}
    }
}

/// A sender who always fills a field in need not declare it nullable.
#[test]
fn requests_take_fields_that_are_not_nullable() {
    let schema = r#"{"type": "record", "name": "PaymentRequest", "namespace": "shop", "fields": [
        {"name": "amount", "type": "string"}, {"name": "id", "type": "string"}]}"#;
    let event = decode(&PaymentRequest::CODEC, schema, b"\x085.00\x06p-9").expect("is readable");
    let expected =
        PaymentRequest { amount: Some("5.00".to_owned()), id: Some("p-9".to_owned()), ..PaymentRequest::default() };
    assert_eq!(event.downcast_ref::<PaymentRequest>(), Some(&expected));
}

/// What other writers may do, and this program does not.
#[test]
fn every_form_of_the_encoding_is_read() {
    let field = |field: &str| format!(r#"{{"type": "record", "name": "R", "namespace": "shop", "fields": [{field}]}}"#);
    let metadata = r#"{"name": "metadata", "type": {"type": "map", "values": "string"}}"#;
    let skipped = r#"{"name": "other", "type": {"type": "array", "items": {"type": "map", "values": "double"}}}"#;
    let enumerated = r#"{"name": "currency", "type": {"type": "enum", "name": "C", "symbols": ["EUR", "USD"]}}"#;
    let three = r#"{"name": "amount", "type": ["long", "null", "string"]}"#;
    let of = |metadata: &[(&str, &str)]| PaymentRequest {
        metadata: metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..PaymentRequest::default()
    };
    let text = |value: &str| Some(value.to_owned());
    let cases: [(&str, &[u8], Result<PaymentRequest, &str>); 9] = [
        // Two blocks; one with its length in bytes before it.
        (metadata, b"\x02\x02a\x02x\x02\x02b\x02y\0", Ok(of(&[("a", "x"), ("b", "y")]))),
        (metadata, b"\x03\x10\x02a\x02x\x02b\x02y\0", Ok(of(&[("a", "x"), ("b", "y")]))),
        (skipped, b"\x02\x01\x14\x02k\0\0\0\0\0\0\xf0\x3f\0\0", Ok(PaymentRequest::default())),
        (enumerated, b"\x02", Ok(PaymentRequest { currency: text("USD"), ..PaymentRequest::default() })),
        (enumerated, b"\x04", Err("/currency")),
        (three, b"\x02", Ok(PaymentRequest::default())),
        (three, b"\x04\x025", Ok(PaymentRequest { amount: text("5"), ..PaymentRequest::default() })),
        // A number is not taken for the text of an amount.
        (three, b"\x00\x0a", Err("/amount")),
        (metadata, b"\x02\x02a\x02\xff\0", Err("/metadata")),
    ];
    for (declared, bytes, expected) in cases {
        match (decode(&PaymentRequest::CODEC, &field(declared), bytes), expected) {
            (Ok(event), Ok(expected)) => {
                assert_eq!(event.downcast_ref::<PaymentRequest>(), Some(&expected), "{bytes:?}");
            }
            (Err(error), Err(at)) => assert_eq!(error.field.as_deref(), Some(at), "{bytes:?}: {error}"),
            (decoded, expected) => panic!("{bytes:?}: {decoded:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn every_truncation_and_every_trailing_byte_is_refused() {
    for Sample { codec, full, .. } in &samples() {
        let bytes = encode(full);
        let decoder = (codec.decoder)(codec.schema).expect("is a schema");
        for length in 0..bytes.len() {
            assert!(decoder.decode(&bytes[..length]).is_err(), "{codec:?} cut to {length} bytes");
        }
        let error = decoder.decode(&[bytes.as_slice(), b"x"].concat()).expect_err("one byte too many");
        assert_eq!(error.message, "1 bytes follow the datum", "{codec:?}");
    }
}

/// A length in the bytes is a claim, not a reason to allocate.
#[test]
fn enormous_lengths_are_refused() {
    let nine_exabytes = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for codec in CODECS {
        let decoder = (codec.decoder)(codec.schema).expect("is a schema");
        assert!(decoder.decode(&nine_exabytes).is_err(), "{codec:?}");
        assert!(decoder.decode(&[[0x02].as_slice(), &nine_exabytes].concat()).is_err(), "{codec:?}");
    }
}

#[test]
fn errors_do_not_quote_the_bytes() {
    let mut bytes = encode(&samples()[0].full);
    let position = bytes.windows(4).position(|window| window == b"shop").expect("the source is in the bytes");
    bytes[position] = 0xff;
    let error = decode(&PaymentRequest::CODEC, PaymentRequest::CODEC.schema, &bytes).expect_err("is not UTF-8");
    assert!(!error.message.contains("hop"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        for codec in CODECS {
            let decoder = (codec.decoder)(codec.schema).expect("is a schema");
            if let Ok(event) = decoder.decode(&bytes) {
                event.key(&mut Vec::new());
                event.event_time();
            }
        }
    }

    #[test]
    fn damaged_samples_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for Sample { codec, full, .. } in &samples() {
            let mut bytes = encode(full);
            for (index, byte) in &changes {
                let length = bytes.len();
                bytes[index.index(length)] = *byte;
            }
            let decoder = (codec.decoder)(codec.schema).expect("is a schema");
            if let Ok(event) = decoder.decode(&bytes) {
                event.encode(&mut Vec::new()).expect("what was read can be written");
            }
        }
    }
}
