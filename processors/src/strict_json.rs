//! Reads a JSON object field by field, and is strict about what JSON leaves open.
//!
//! Refused as unreadable: bytes after the object, a name that occurs twice in one object, NUL in a text, nesting and
//! object sizes beyond the limits. A value of the wrong type is a mismatch, which is reported only when the rest of the
//! bytes is readable, so that the graver finding wins.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside each other.
pub(crate) const DEPTH_MAX: u32 = 32;
pub(crate) const NAMES_PER_OBJECT_MAX: usize = 256;

/// An object that knows where the values of its fields go.
pub(crate) trait Fields {
    /// Called when the object is there, even if it turns out to be empty.
    fn given(&mut self) {}

    /// The name of the field in a pointer and where its value goes; `None` for a field the object does not know.
    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)>;
}

/// Where a value goes. A null leaves everything as it was.
pub(crate) enum Slot<'a> {
    Text(&'a mut Option<String>),
    /// An object with texts under free names.
    Texts(&'a mut BTreeMap<String, String>),
    Object(&'a mut dyn Fields),
    /// Any value; it is only held to the limits.
    Ignore,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownFields {
    #[default]
    Ignore,
    Reject,
}

/// Messages never quote the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unreadable(&'static str),
    Mismatch {
        message: &'static str,
        /// JSON pointer, without names that the sender made up.
        pointer: String,
    },
}

/// An object that remembers whether it was there.
#[derive(Debug, Default)]
pub(crate) struct Given<F> {
    pub(crate) fields: F,
    pub(crate) given: bool,
}

impl<F: Fields> Fields for Given<F> {
    fn given(&mut self) {
        self.given = true;
    }

    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
        self.fields.field(name)
    }
}

/// Reads `bytes`, which must be one JSON object and nothing else, into `fields`.
pub(crate) fn read_object(bytes: &[u8], fields: &mut dyn Fields, unknown: UnknownFields) -> Result<(), Fault> {
    let reading = Reading { unknown, unreadable: Cell::new(None), mismatch: RefCell::new(None) };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let walk = Walk { slot: Slot::Object(fields), reading: &reading, path: None, depth: 0 };
    let result = walk.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Some(message) = reading.unreadable.get() {
        return Err(Fault::Unreadable(message));
    }
    if let Err(error) = result {
        return Err(Fault::Unreadable(if error.is_eof() { "the JSON is cut off" } else { "not JSON in UTF-8" }));
    }
    reading.mismatch.into_inner().map_or(Ok(()), Err)
}

/// What is found out on the way.
struct Reading {
    unknown: UnknownFields,
    unreadable: Cell<Option<&'static str>>,
    /// The first one.
    mismatch: RefCell<Option<Fault>>,
}

/// The way to a value, innermost name first.
struct Path<'a> {
    name: &'static str,
    parent: Option<&'a Path<'a>>,
}

impl Path<'_> {
    fn pointer(&self) -> String {
        let parent = self.parent.map(Path::pointer).unwrap_or_default();
        format!("{parent}/{}", self.name)
    }
}

/// Reads one value into its slot.
struct Walk<'a> {
    slot: Slot<'a>,
    reading: &'a Reading,
    path: Option<&'a Path<'a>>,
    /// How many objects and arrays the value is in.
    depth: u32,
}

impl<'a> Walk<'a> {
    fn unreadable<E: Error>(&self, message: &'static str) -> E {
        self.reading.unreadable.set(Some(message));
        E::custom(message)
    }

    /// Notes that the value is of the wrong type; reading goes on.
    fn mismatch<E: Error>(&self, message: &'static str) -> Result<(), E> {
        let Some(path) = self.path else { return Err(self.unreadable("not a JSON object")) };
        let mut mismatch = self.reading.mismatch.borrow_mut();
        mismatch.get_or_insert_with(|| Fault::Mismatch { message, pointer: path.pointer() });
        Ok(())
    }

    /// For a value that is neither text nor object.
    fn expect_ignored<E: Error>(&self, message: &'static str) -> Result<(), E> {
        match self.slot {
            Slot::Ignore => Ok(()),
            Slot::Text(_) | Slot::Texts(_) | Slot::Object(_) => self.mismatch(message),
        }
    }

    fn descend<E: Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.unreadable("more than 32 objects and arrays inside each other"));
        }
        Ok(())
    }

    /// One field of an object whose fields are known.
    fn known_field<'de, A: MapAccess<'de>>(
        &self,
        fields: &mut dyn Fields,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let Some((name, slot)) = fields.field(name) else {
            if self.reading.unknown == UnknownFields::Reject {
                let pointer = self.path.map(Path::pointer).unwrap_or_default();
                let mut mismatch = self.reading.mismatch.borrow_mut();
                mismatch
                    .get_or_insert(Fault::Mismatch { message: "the object has a field that is not known", pointer });
            }
            return self.value(Slot::Ignore, self.path, map);
        };
        self.value(slot, Some(&Path { name, parent: self.path }), map)
    }

    fn value<'v, 'de, A: MapAccess<'de>>(
        &'v self,
        slot: Slot<'v>,
        path: Option<&'v Path<'v>>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        map.next_value_seed(Walk { slot, reading: self.reading, path, depth: self.depth })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(self.unreadable("a text contains NUL"));
        }
        match self.slot {
            Slot::Text(slot) => *slot = Some(text.to_owned()),
            Slot::Ignore => {}
            Slot::Texts(_) | Slot::Object(_) => self.mismatch("text where an object is expected")?,
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.depth == 0 { Err(self.unreadable("not a JSON object")) } else { Ok(()) }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.expect_ignored("a boolean where text or an object is expected")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.expect_ignored(NUMBER)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.expect_ignored(NUMBER)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.expect_ignored(NUMBER)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.expect_ignored("an array where text or an object is expected")?;
        self.descend()?;
        let (reading, path, depth) = (self.reading, self.path, self.depth);
        while items.next_element_seed(Walk { slot: Slot::Ignore, reading, path, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.descend()?;
        let mut slot = std::mem::replace(&mut self.slot, Slot::Ignore);
        match &mut slot {
            Slot::Object(fields) => fields.given(),
            Slot::Text(_) => self.mismatch("an object where text is expected")?,
            Slot::Texts(_) | Slot::Ignore => {}
        }
        let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(16);
        while let Some(name) = map.next_key_seed(Name)? {
            if names.contains(&name) {
                return Err(self.unreadable("a name occurs twice in one object"));
            }
            if names.len() == NAMES_PER_OBJECT_MAX || name.contains('\0') {
                return Err(self.unreadable("an object has more than 256 names, or one with NUL"));
            }
            match &mut slot {
                Slot::Object(fields) => self.known_field(&mut **fields, &name, &mut map)?,
                Slot::Texts(texts) => {
                    let mut text = None;
                    self.value(Slot::Text(&mut text), self.path, &mut map)?;
                    texts.extend(text.map(|text| (name.clone().into_owned(), text)));
                }
                Slot::Text(_) | Slot::Ignore => self.value(Slot::Ignore, self.path, &mut map)?,
            }
            names.push(name);
        }
        Ok(())
    }
}

const NUMBER: &str = "a number where text or an object is expected; amounts are decimal texts";

/// A name of an object, borrowed from the bytes unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Order {
        id: Option<String>,
        notes: BTreeMap<String, String>,
    }

    impl Fields for Order {
        fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
            match name {
                "id" => Some(("id", Slot::Text(&mut self.id))),
                "notes" => Some(("notes", Slot::Texts(&mut self.notes))),
                _ => None,
            }
        }
    }

    fn read(bytes: &[u8], unknown: UnknownFields) -> String {
        let mut order = Order::default();
        match read_object(bytes, &mut order, unknown) {
            Ok(()) => format!("{} {:?}", order.id.as_deref().unwrap_or("-"), order.notes),
            Err(Fault::Unreadable(message)) => format!("unreadable: {message}"),
            Err(Fault::Mismatch { message, pointer }) => format!("mismatch at {pointer}: {message}"),
        }
    }

    #[test]
    fn reads_strictly() {
        let object = "unreadable: not a JSON object";
        let array = "mismatch at /id: an array where text or an object is expected";
        let number = "mismatch at /id: a number where text or an object is expected; amounts are decimal texts";
        let cases: &[(&str, &str)] = &[
            (r#"{"id":"a","notes":{"k":"v"}}"#, r#"a {"k": "v"}"#),
            (r#"{"id":null,"notes":null}"#, "- {}"),
            (r#"{"id":"\u0061","more":[1,{"x":[true]}]}"#, "a {}"),
            (r#"{"more":null,"most":[null]}"#, "- {}"),
            (r#"{"id":5}"#, number),
            (r#"{"id":5.0}"#, number),
            (r#"{"id":[]}"#, array),
            (r#"{"id":{"x":1}}"#, "mismatch at /id: an object where text is expected"),
            (r#"{"notes":"x"}"#, "mismatch at /notes: text where an object is expected"),
            (r#"{"notes":{"k":true}}"#, "mismatch at /notes: a boolean where text or an object is expected"),
            (r#"{"id":[],"id":"#, "unreadable: a name occurs twice in one object"),
            (r#"{"id":[],"#, "unreadable: the JSON is cut off"),
            (r#"{"id":"a","id":"a"}"#, "unreadable: a name occurs twice in one object"),
            (r#"{"id":null,"\u0069d":"a"}"#, "unreadable: a name occurs twice in one object"),
            (r#"{"notes":{"k":"1","k":"2"}}"#, "unreadable: a name occurs twice in one object"),
            (r#"{"more":{"k":1,"k":2}}"#, "unreadable: a name occurs twice in one object"),
            (r#"{"more":"\u0000"}"#, "unreadable: a text contains NUL"),
            (r#"{"id":"a"} x"#, "unreadable: not JSON in UTF-8"),
            ("[]", object),
            ("null", object),
            ("12", object),
            (r#""{}""#, object),
            ("", "unreadable: the JSON is cut off"),
        ];
        for (json, expected) in cases {
            assert_eq!(read(json.as_bytes(), UnknownFields::Ignore), *expected, "{json}");
        }
        assert_eq!(
            read(br#"{"secret":1}"#, UnknownFields::Reject),
            "mismatch at : the object has a field that is not known"
        );
    }

    #[test]
    fn depth_is_limited_whatever_the_field() {
        for (levels, name, readable) in [(31, "more", true), (32, "more", false), (10_000, "id", false)] {
            let json = format!(r#"{{"{name}":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
            let result = read(json.as_bytes(), UnknownFields::Ignore);
            assert_eq!(!result.starts_with("unreadable"), readable, "{levels} levels in {name}: {result}");
        }
    }

    #[test]
    fn names_of_an_object_are_limited() {
        for (count, readable) in [(NAMES_PER_OBJECT_MAX, true), (NAMES_PER_OBJECT_MAX + 1, false)] {
            let names: Vec<String> = (0..count).map(|number| format!(r#""n{number}":0"#)).collect();
            let result = read(format!("{{{}}}", names.join(",")).as_bytes(), UnknownFields::Ignore);
            assert_eq!(!result.starts_with("unreadable"), readable, "{count} names: {result}");
        }
    }
}
