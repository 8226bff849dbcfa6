//! From bytes into a type.

use serde::Deserialize;
use serde::de::value::{StrDeserializer, U64Deserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::Misfit;
use super::shape::{Record, Shape};

/// Reads one datum, and says how many bytes follow it. A field that the type does not know is passed over; one that the
/// schema does not have is as the type says for absent ones.
pub(crate) fn read<'de, T: Deserialize<'de>>(
    shape: &Shape,
    bytes: &'de [u8],
) -> Result<(T, usize), super::DecodeError> {
    let mut input = Input { rest: bytes };
    let event = T::deserialize(Datum { shape, input: &mut input })?;
    Ok((event, input.rest.len()))
}

struct Input<'de> {
    rest: &'de [u8],
}

impl<'de> Input<'de> {
    fn byte(&mut self) -> Result<u8, Misfit> {
        let (byte, rest) = self.rest.split_first().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn bytes(&mut self, length: usize) -> Result<&'de [u8], Misfit> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A number in base 128, the least part first, with the sign in its lowest bit.
    fn long(&mut self) -> Result<i64, Misfit> {
        let mut bits: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            bits |= part << shift;
            if byte < 0x80 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Misfit::new("a number has more than 64 bits"))
    }

    fn int(&mut self) -> Result<i32, Misfit> {
        i32::try_from(self.long()?).map_err(|_| Misfit::new("an int has more than 32 bits"))
    }

    fn boolean(&mut self) -> Result<bool, Misfit> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Misfit::new("a boolean is neither 0 nor 1")),
        }
    }

    /// Bytes with their length before them. A length is a claim, and nothing is allocated for it.
    fn sized(&mut self) -> Result<&'de [u8], Misfit> {
        let length = usize::try_from(self.long()?).map_err(|_| Misfit::new("a length is less than zero"))?;
        self.bytes(length)
    }

    fn text(&mut self) -> Result<&'de str, Misfit> {
        std::str::from_utf8(self.sized()?).map_err(|_| Misfit::new("a text is not UTF-8"))
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Result<&'a T, Misfit> {
        let chosen = usize::try_from(self.long()?).ok().and_then(|index| choices.get(index));
        chosen.ok_or_else(|| Misfit::new("the schema has no such variant or symbol"))
    }

    /// How many items come until the next count; 0 at the end of an array or map.
    fn block(&mut self) -> Result<u64, Misfit> {
        let count = self.long()?;
        if count < 0 {
            // The length in bytes of the block, for readers that pass over it as a whole.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn pass_over(&mut self, shape: &Shape) -> Result<(), Misfit> {
        match shape {
            Shape::Null => {}
            Shape::Boolean => self.boolean().map(|_| ())?,
            Shape::Int | Shape::Long | Shape::Enum(_) => self.long().map(|_| ())?,
            Shape::Text | Shape::Bytes => self.sized().map(|_| ())?,
            Shape::Fixed(length) => self.bytes(*length).map(|_| ())?,
            Shape::Array(items) => {
                while let count @ 1.. = self.block()? {
                    for _ in 0..count {
                        self.pass_over(items)?;
                    }
                }
            }
            Shape::Map(values) => {
                while let count @ 1.. = self.block()? {
                    for _ in 0..count {
                        self.sized()?;
                        self.pass_over(values)?;
                    }
                }
            }
            Shape::Union(variants) => {
                let variant = self.one_of(variants)?;
                self.pass_over(variant)?;
            }
            Shape::Record(record) => {
                for field in &record.fields {
                    self.pass_over(&field.shape).map_err(|misfit| misfit.within(&field.name))?;
                }
            }
        }
        Ok(())
    }
}

#[cold]
fn ends_early() -> Misfit {
    Misfit::new("the bytes end before the datum does")
}

/// One value that is to be read.
struct Datum<'a, 'de> {
    shape: &'a Shape,
    input: &'a mut Input<'de>,
}

impl<'a, 'de> Datum<'a, 'de> {
    /// With the variant that was written in the place of a union.
    fn chosen(mut self) -> Result<Self, Misfit> {
        while let Shape::Union(variants) = self.shape {
            self.shape = self.input.one_of(variants)?;
        }
        Ok(self)
    }
}

impl<'de> Deserializer<'de> for Datum<'_, 'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Self { shape, input } = self.chosen()?;
        match shape {
            Shape::Null | Shape::Union(_) => visitor.visit_unit(),
            Shape::Boolean => visitor.visit_bool(input.boolean()?),
            Shape::Int => visitor.visit_i32(input.int()?),
            Shape::Long => visitor.visit_i64(input.long()?),
            Shape::Text => visitor.visit_borrowed_str(input.text()?),
            Shape::Bytes => visitor.visit_borrowed_bytes(input.sized()?),
            Shape::Fixed(length) => visitor.visit_borrowed_bytes(input.bytes(*length)?),
            Shape::Enum(symbols) => visitor.visit_str(input.one_of(symbols)?),
            Shape::Array(items) => visitor.visit_seq(Blocks { shape: items, input, left: 0 }),
            Shape::Map(values) => visitor.visit_map(Blocks { shape: values, input, left: 0 }),
            Shape::Record(record) => visitor.visit_map(Named { record, input, next: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let datum = self.chosen()?;
        match datum.shape {
            Shape::Null => visitor.visit_none(),
            // A sender who always fills a field in does not declare it nullable.
            _ => visitor.visit_some(datum),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let datum = self.chosen()?;
        let Shape::Record(record) = datum.shape else { return datum.deserialize_any(visitor) };
        let positions = record.positions.get_or_init(|| record.positions(fields));
        if !std::ptr::eq(positions.names, fields) {
            return datum.deserialize_any(visitor);
        }
        visitor.visit_map(Placed { record, positions: &positions.of_fields, input: datum.input, next: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let Self { shape, input } = self.chosen()?;
        let symbol: StrDeserializer<'_, Misfit> = match shape {
            Shape::Enum(symbols) => (**input.one_of(symbols)?).into_deserializer(),
            Shape::Text => input.text()?.into_deserializer(),
            _ => return Err(Misfit::new("the schema has no symbol where one is needed")),
        };
        visitor.visit_enum(symbol)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.input.pass_over(self.shape)?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// The items of an array, or the keys and values of a map.
struct Blocks<'a, 'de> {
    shape: &'a Shape,
    input: &'a mut Input<'de>,
    left: u64,
}

impl Blocks<'_, '_> {
    fn has_next(&mut self) -> Result<bool, Misfit> {
        if self.left == 0 {
            self.left = self.input.block()?;
        }
        let has_next = self.left > 0;
        self.left = self.left.saturating_sub(1);
        Ok(has_next)
    }
}

impl<'de> SeqAccess<'de> for Blocks<'_, 'de> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        match self.has_next()? {
            true => seed.deserialize(Datum { shape: self.shape, input: self.input }).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Blocks<'_, 'de> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        match self.has_next()? {
            true => seed.deserialize(Datum { shape: &Shape::Text, input: self.input }).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        seed.deserialize(Datum { shape: self.shape, input: self.input })
    }
}

/// The fields of a record, called by their places in the type that is read.
struct Placed<'a, 'de> {
    record: &'a Record,
    positions: &'a [u64],
    input: &'a mut Input<'de>,
    next: usize,
}

impl<'de> MapAccess<'de> for Placed<'_, 'de> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        match self.positions.get(self.next) {
            Some(position) => seed.deserialize(U64Deserializer::new(*position)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        next_field(self.record, &mut self.next, self.input, seed)
    }
}

/// The fields of a record, called by their names.
struct Named<'a, 'de> {
    record: &'a Record,
    input: &'a mut Input<'de>,
    next: usize,
}

impl<'de> MapAccess<'de> for Named<'_, 'de> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        match self.record.fields.get(self.next) {
            Some(field) => seed.deserialize(StrDeserializer::new(&field.name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        next_field(self.record, &mut self.next, self.input, seed)
    }
}

fn next_field<'de, S: DeserializeSeed<'de>>(
    record: &Record,
    next: &mut usize,
    input: &mut Input<'de>,
    seed: S,
) -> Result<S::Value, Misfit> {
    let field = record.fields.get(*next).ok_or_else(ends_early)?;
    *next += 1;
    seed.deserialize(Datum { shape: &field.shape, input }).map_err(|misfit| misfit.within(&field.name))
}
