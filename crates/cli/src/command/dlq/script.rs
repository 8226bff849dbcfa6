//! A script that mends a decoded value: rhai, over one variable, `value`, and nothing else of the world.
//!
//! Invariant: the same script and value give the same result. There is no clock, no randomness, no file and no module, and
//! every run is limited.

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage, BasicStringPackage,
    LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, Array, Dynamic, Engine, ImmutableString, Map, Scope};
use serde_json::{Number, Value};

/// Of one script, for one letter.
const OPERATIONS_MAX: u64 = 100_000;
const EXPRESSION_DEPTH_MAX: usize = 64;
const CALL_DEPTH_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 1 << 20;
const ARRAY_ITEMS_MAX: usize = 100_000;
const OBJECT_ENTRIES_MAX: usize = 100_000;
const SCRIPT_BYTES_MAX: usize = 64 << 10;
const NAME: &str = "value";

/// A number that is no 64-bit integer, kept as it was written.
#[derive(Clone, Debug)]
struct OtherNumber(Number);

pub(in crate::command) struct Script {
    engine: Engine,
    ast: AST,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Script")
    }
}

impl Script {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(format!("a script has at most {SCRIPT_BYTES_MAX} bytes"));
        }
        let engine = engine();
        let ast = engine.compile(text).map_err(|error| error.to_string())?;
        Ok(Self { engine, ast })
    }

    /// What the script makes of `value`. Errors quote the script, and of the value nothing but names of its fields.
    pub(super) fn run(&self, value: &Value) -> Result<Value, String> {
        let mut scope = Scope::new();
        scope.push_dynamic(NAME, dynamic_of(value));
        self.engine.run_ast_with_scope(&mut scope, &self.ast).map_err(|error| error.to_string())?;
        json_of(scope.get(NAME).cloned().unwrap_or_default())
    }
}

/// Only what cannot reach outside: the package of the language's core can sleep.
fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    engine
        .set_max_operations(OPERATIONS_MAX)
        .set_max_expr_depths(EXPRESSION_DEPTH_MAX, EXPRESSION_DEPTH_MAX)
        .set_max_call_levels(CALL_DEPTH_MAX)
        .set_max_string_size(TEXT_BYTES_MAX)
        .set_max_array_size(ARRAY_ITEMS_MAX)
        .set_max_map_size(OBJECT_ENTRIES_MAX)
        .disable_symbol("eval")
        .disable_symbol("print")
        .disable_symbol("debug");
    engine
        .register_type_with_name::<OtherNumber>("number")
        .register_fn("to_string", |number: &mut OtherNumber| number.0.to_string());
    engine
}

fn dynamic_of(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(is_true) => (*is_true).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => Dynamic::from(OtherNumber(number.clone())),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(dynamic_of).collect::<Array>().into(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.as_str().into(), dynamic_of(value)));
            fields.collect::<Map>().into()
        }
    }
}

fn json_of(value: Dynamic) -> Result<Value, String> {
    let name = value.type_name();
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Some(is_true) = value.clone().try_cast::<bool>() {
        return Ok(is_true.into());
    }
    if let Some(integer) = value.clone().try_cast::<i64>() {
        return Ok(integer.into());
    }
    if let Some(OtherNumber(number)) = value.clone().try_cast() {
        return Ok(Value::Number(number));
    }
    if let Some(text) = value.clone().try_cast::<ImmutableString>() {
        return Ok(text.as_str().into());
    }
    if let Some(letter) = value.clone().try_cast::<char>() {
        return Ok(letter.to_string().into());
    }
    if let Some(items) = value.clone().try_cast::<Array>() {
        return items.into_iter().map(json_of).collect();
    }
    if let Some(fields) = value.try_cast::<Map>() {
        return fields.into_iter().map(|(name, value)| Ok((name.to_string(), json_of(value)?))).collect();
    }
    Err(format!("a {name} cannot be part of a value"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(script: &str, value: &Value) -> Result<Value, String> {
        Script::compile(script)?.run(value)
    }

    #[test]
    fn a_script_mends_a_value() {
        let table = [
            (
                "value.currency = value.amount.currency; value.amount = value.amount.value;",
                json!({"amount": {"value": "1.00", "currency": "EUR"}}),
                json!({"amount": "1.00", "currency": "EUR"}),
            ),
            ("value.amount = value.amount.to_string();", json!({"amount": 12.5}), json!({"amount": "12.5"})),
            ("value.amount = value.amount.to_string();", json!({"amount": 7}), json!({"amount": "7"})),
            (
                "for line in value.lines { line.sku.to_upper(); } value.remove(\"note\");",
                json!({"lines": [{"sku": "a"}], "note": null}),
                json!({"lines": [{"sku": "a"}]}),
            ),
            (
                "if !(\"channel\" in value) { value.channel = \"web\"; }",
                json!({"big": 18_446_744_073_709_551_615_u64, "is": true, "none": null}),
                json!({"big": 18_446_744_073_709_551_615_u64, "is": true, "none": null, "channel": "web"}),
            ),
            ("", json!([1, "two", null, {}]), json!([1, "two", null, {}])),
        ];
        for (script, value, expected) in table {
            assert_eq!(run(script, &value), Ok(expected), "{script}");
        }
    }

    #[test]
    fn a_script_reaches_nothing_outside_and_comes_to_an_end() {
        let table = [
            ("loop {}", "operations"),
            ("fn again(n) { again(n + 1) } again(0);", "Stack overflow"),
            ("let text = \"x\"; loop { text += text; }", "Length of string"),
            ("let items = []; loop { items.push(1); }", "operations"),
            ("eval(\"value = 1\");", "eval"),
            ("import \"other\" as other;", "import"),
            ("sleep(1);", "Function not found"),
            ("timestamp();", "Function not found"),
            ("print(value);", "print"),
            ("debug(value);", "debug"),
            ("open_file(\"/etc/passwd\");", "Function not found"),
            ("value = Fn(\"f\");", "cannot be part of a value"),
            ("value.amount.cents = 1;", "cents"),
        ];
        for (script, expected) in table {
            let error = run(script, &json!({"customer": "mary"})).expect_err(script);
            assert!(error.contains(expected), "{script}: {error}");
            assert!(!error.contains("mary"), "{script}: {error}");
        }
        let deep = format!("value = {}1{};", "(".repeat(100), ")".repeat(100));
        assert!(run(&deep, &json!(null)).is_err(), "an expression is not nested without end");
        assert!(Script::compile(&" ".repeat(SCRIPT_BYTES_MAX + 1)).is_err());
    }
}
