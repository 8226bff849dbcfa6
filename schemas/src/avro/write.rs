//! From a type into bytes, along the type's own schema.

use serde::ser::{Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use super::Misfit;
use super::shape::{Field, Shape};

/// Appends the datum to `out`, or leaves `out` as it was.
pub(crate) fn write<T: Serialize>(shape: &Shape, value: &T, out: &mut Vec<u8>) -> Result<(), super::DecodeError> {
    let length_before = out.len();
    value.serialize(Place { shape, out }).map_err(|misfit| {
        out.truncate(length_before);
        misfit.into()
    })
}

/// Where one value goes.
struct Place<'a> {
    shape: &'a Shape,
    out: &'a mut Vec<u8>,
}

#[cold]
fn no_such_value() -> Misfit {
    Misfit::new("the schema has another type in this place")
}

impl<'a> Place<'a> {
    /// The place of the variant that `fits` in a union, which gets its number first; anywhere else, the place itself.
    fn chosen(mut self, fits: impl Fn(&Shape) -> bool) -> Result<Self, Misfit> {
        if let Shape::Union(variants) = self.shape {
            let (number, variant) = (0..).zip(variants).find(|(_, variant)| fits(variant)).ok_or_else(no_such_value)?;
            long(number, self.out);
            self.shape = variant;
        }
        match fits(self.shape) {
            true => Ok(self),
            false => Err(no_such_value()),
        }
    }
}

/// See `Input::long` of the reader.
fn long(number: i64, out: &mut Vec<u8>) {
    let mut bits = (number << 1 ^ number >> 63).cast_unsigned();
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Types that no event has.
macro_rules! no_such_type {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(fn $method(self, _value: $type) -> Result<(), Misfit> {
            Err(no_such_value())
        })*
    };
}

impl<'a> Serializer for Place<'a> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Impossible<(), Misfit>;
    type SerializeTupleStruct = Impossible<(), Misfit>;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), Misfit>;

    fn serialize_bool(self, value: bool) -> Result<(), Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Boolean))?;
        place.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Int | Shape::Long))?;
        long(value.into(), place.out);
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Long))?;
        long(value, place.out);
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Text))?;
        sized(value.as_bytes(), place.out);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Misfit> {
        self.chosen(|shape| matches!(shape, Shape::Null)).map(|_| ())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Misfit> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Enum(_)))?;
        let Shape::Enum(symbols) = place.shape else { return Err(no_such_value()) };
        let (number, _) = (0..).zip(symbols).find(|(_, symbol)| ***symbol == *variant).ok_or_else(no_such_value)?;
        long(number, place.out);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Misfit> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items<'a>, Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Array(_)))?;
        let Shape::Array(items) = place.shape else { return Err(no_such_value()) };
        Items::new(items, length, place.out)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Items<'a>, Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Map(_)))?;
        let Shape::Map(values) = place.shape else { return Err(no_such_value()) };
        Items::new(values, length, place.out)
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Fields<'a>, Misfit> {
        let place = self.chosen(|shape| matches!(shape, Shape::Record(_)))?;
        let Shape::Record(record) = place.shape else { return Err(no_such_value()) };
        Ok(Fields { left: &record.fields, out: place.out })
    }

    no_such_type! {
        serialize_i8(i8), serialize_i16(i16), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_f32(f32), serialize_f64(f64), serialize_char(char), serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
    }

    fn serialize_unit(self) -> Result<(), Misfit> {
        Err(no_such_value())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Misfit> {
        Err(no_such_value())
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple, Misfit> {
        Err(no_such_value())
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Self::SerializeTuple, Misfit> {
        Err(no_such_value())
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTuple, Misfit> {
        Err(no_such_value())
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTuple, Misfit> {
        Err(no_such_value())
    }
}

/// The items of an array or the entries of a map: one block of all of them, and the end.
struct Items<'a> {
    shape: &'a Shape,
    out: &'a mut Vec<u8>,
}

impl<'a> Items<'a> {
    fn new(shape: &'a Shape, length: Option<usize>, out: &'a mut Vec<u8>) -> Result<Self, Misfit> {
        match length {
            Some(0) => {}
            Some(length) => long(length as i64, out),
            None => return Err(no_such_value()),
        }
        Ok(Self { shape, out })
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        value.serialize(Place { shape: self.shape, out: self.out })
    }

    fn finish(self) -> Result<(), Misfit> {
        self.out.push(0);
        Ok(())
    }
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.item(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Misfit> {
        key.serialize(Place { shape: &Shape::Text, out: self.out })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.item(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

/// The fields of a record, which a type gives in the order of its schema.
struct Fields<'a> {
    left: &'a [Field],
    out: &'a mut Vec<u8>,
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Misfit> {
        let (field, left) = self.left.split_first().ok_or_else(other_fields)?;
        if *field.name != *name {
            return Err(other_fields().within(name));
        }
        self.left = left;
        value.serialize(Place { shape: &field.shape, out: self.out }).map_err(|misfit| misfit.within(name))
    }

    fn end(self) -> Result<(), Misfit> {
        match self.left {
            [] => Ok(()),
            _ => Err(other_fields()),
        }
    }
}

#[cold]
fn other_fields() -> Misfit {
    Misfit::new("the type does not have the fields of its schema in their order")
}
