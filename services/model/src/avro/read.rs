//! Reading.

use super::AvroError;
use crate::codec::read_long;
use crate::planted::{Bug, planted};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

/// Items that room is made for before they are read: a count is the writer's word only.
const ROOM_AHEAD: usize = 1_024;

/// Reads one value from the front of `rest`.
pub fn read<'de, T: de::Deserialize<'de>>(rest: &mut &'de [u8]) -> Result<T, AvroError> {
    T::deserialize(&mut Reader { rest })
}

struct Reader<'r, 'de> {
    rest: &'r mut &'de [u8],
}

impl<'de> Reader<'_, 'de> {
    fn long(&mut self) -> Result<i64, AvroError> {
        let left = self.rest.len();
        read_long(self.rest).ok_or(if left < 10 { AvroError::End } else { AvroError::TooLong })
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8], AvroError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(AvroError::End)?;
        *self.rest = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<&'de [u8], AvroError> {
        let len = self.long()?;
        let fits = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
        self.take(fits.ok_or(AvroError::Length(len))?)
    }

    fn text(&mut self) -> Result<&'de str, AvroError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroError::Text)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
            visitor.visit_i64(self.long()?)
        }
    )*};
}
macro_rules! unsupported {
    ($($method:ident = $what:literal,)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, AvroError> {
            Err(AvroError::Unsupported($what))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'_, 'de> {
    type Error = AvroError;

    numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 }
    unsupported! {
        deserialize_any = "a type that is told only by its value",
        deserialize_ignored_any = "an unknown field",
        deserialize_identifier = "a field's name",
        deserialize_u64 = "u64",
        deserialize_char = "char",
        deserialize_f32 = "a float",
        deserialize_f64 = "a float",
        deserialize_map = "a map",
    }

    fn is_human_readable(&self) -> bool {
        false
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        match self.take(1)? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            other => Err(AvroError::Bool(other[0])),
        }
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_borrowed_str(self.text()?)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        self.deserialize_str(visitor)
    }
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        self.deserialize_bytes(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        match self.long()? ^ i64::from(planted(Bug::OtherSchema)) {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            other => Err(AvroError::Branch(other)),
        }
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_seq(Items { reader: self, left: 0, ended: false })
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_seq(Fields { reader: self, left: len })
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, len: usize, visitor: V) -> Result<V::Value, AvroError> {
        self.deserialize_tuple(len, visitor)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AvroError> {
        self.deserialize_tuple(fields.len(), visitor)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AvroError> {
        let index = self.long()?;
        match u32::try_from(index) {
            Ok(branch) if (branch as usize) < variants.len() => visitor.visit_enum(Branch { reader: self, branch }),
            _ => Err(AvroError::Branch(index)),
        }
    }
}

/// The fields of a record: their number is the type's.
struct Fields<'f, 'r, 'de> {
    reader: &'f mut Reader<'r, 'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, '_, 'de> {
    type Error = AvroError;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, AvroError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The items of an array: blocks, each behind its count, until one of none.
struct Items<'f, 'r, 'de> {
    reader: &'f mut Reader<'r, 'de>,
    left: usize,
    ended: bool,
}

impl Items<'_, '_, '_> {
    /// Begins the next block if this one is at its end.
    fn advance(&mut self) -> Result<(), AvroError> {
        if self.left > 0 || self.ended {
            return Ok(());
        }
        let count = self.reader.long()?;
        if count < 0 {
            // A negative count is followed by the block's size in bytes, for readers that skip it.
            self.reader.long()?;
        }
        // An item has at least one byte here: no type of ours is empty. So a count cannot keep a reader busy for ever.
        let items = usize::try_from(count.unsigned_abs()).ok().filter(|items| *items <= self.reader.rest.len());
        self.left = items.ok_or(AvroError::Length(count))?;
        self.ended = self.left == 0;
        Ok(())
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_, 'de> {
    type Error = AvroError;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, AvroError> {
        self.advance()?;
        if self.ended {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(ROOM_AHEAD))
    }
}

/// A branch of a union, or a symbol of an enum.
struct Branch<'f, 'r, 'de> {
    reader: &'f mut Reader<'r, 'de>,
    branch: u32,
}

impl<'de> de::EnumAccess<'de> for Branch<'_, '_, 'de> {
    type Error = AvroError;
    type Variant = Self;
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), AvroError> {
        let branch = seed.deserialize(IntoDeserializer::<AvroError>::into_deserializer(self.branch))?;
        Ok((branch, self))
    }
}

impl<'de> de::VariantAccess<'de> for Branch<'_, '_, 'de> {
    type Error = AvroError;
    fn unit_variant(self) -> Result<(), AvroError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, AvroError> {
        seed.deserialize(self.reader)
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_seq(Fields { reader: self.reader, left: len })
    }
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, AvroError> {
        visitor.visit_seq(Fields { reader: self.reader, left: fields.len() })
    }
}
