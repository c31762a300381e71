//! Writing.

use super::AvroError;
use crate::planted::{Bug, planted};
use serde::ser::{self, Serialize};

/// Appends the encoding of a value. What was appended before an error is to be thrown away.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), AvroError> {
    value.serialize(&mut Writer { out })
}

/// Appends an array of items that were written before.
pub fn write_items<'i>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'i [u8]>) {
    let count = items.len();
    Writer { out }.long(i64::try_from(count).unwrap_or(i64::MAX));
    items.for_each(|item| out.extend_from_slice(item));
    if count > 0 {
        Writer { out }.long(0);
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    /// Zig-zag, seven bits a byte, the lowest first.
    fn long(&mut self, value: i64) {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left >= 0x80 {
            self.out.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        self.out.push(left.to_le_bytes()[0]);
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), AvroError> {
        self.long(i64::try_from(bytes.len()).map_err(|_| AvroError::Unsupported("a value of this length"))?);
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// The items of an array; what ends an array is written only if it is not empty.
struct Items<'w, 'o> {
    writer: &'w mut Writer<'o>,
    any: bool,
}

macro_rules! numbers {
    ($($method:ident: $number:ty,)*) => {$(
        fn $method(self, value: $number) -> Result<(), AvroError> {
            self.long(i64::from(value));
            Ok(())
        }
    )*};
}
macro_rules! unsupported {
    ($($method:ident($($arg:ty),*) -> $ok:ty = $what:literal,)*) => {$(
        fn $method(self, $(_: $arg),*) -> Result<$ok, AvroError> {
            Err(AvroError::Unsupported($what))
        }
    )*};
}

impl<'w, 'o> ser::Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = AvroError;
    type SerializeSeq = Items<'w, 'o>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = ser::Impossible<(), AvroError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
    }
    unsupported! {
        serialize_u64(u64) -> () = "u64",
        serialize_f32(f32) -> () = "a float",
        serialize_f64(f64) -> () = "a float",
        serialize_char(char) -> () = "char",
        serialize_map(Option<usize>) -> Self::SerializeMap = "a map",
    }

    fn is_human_readable(&self) -> bool {
        false
    }
    fn serialize_bool(self, value: bool) -> Result<(), AvroError> {
        self.out.push(u8::from(value));
        Ok(())
    }
    fn serialize_str(self, value: &str) -> Result<(), AvroError> {
        self.bytes(value.as_bytes())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), AvroError> {
        self.bytes(value)
    }
    fn serialize_none(self) -> Result<(), AvroError> {
        self.long(i64::from(planted(Bug::OtherSchema)));
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), AvroError> {
        self.long(i64::from(!planted(Bug::OtherSchema)));
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), AvroError> {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), AvroError> {
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), AvroError> {
        self.long(i64::from(index));
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), AvroError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), AvroError> {
        self.long(i64::from(index));
        value.serialize(self)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'w, 'o>, AvroError> {
        let len = len.and_then(|len| i64::try_from(len).ok()).ok_or(AvroError::Unsupported("a sequence of unknown length"))?;
        self.long(len);
        Ok(Items { writer: self, any: len > 0 })
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, AvroError> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, AvroError> {
        Ok(self)
    }
    fn serialize_tuple_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> Result<Self, AvroError> {
        self.long(i64::from(index));
        Ok(self)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, AvroError> {
        Ok(self)
    }
    fn serialize_struct_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> Result<Self, AvroError> {
        self.long(i64::from(index));
        Ok(self)
    }
}

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = AvroError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), AvroError> {
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), AvroError> {
        if self.any {
            self.writer.long(0);
        }
        Ok(())
    }
}

macro_rules! fields_in_order {
    ($($of:ident::$method:ident($($key:ty)?),)*) => {$(
        impl ser::$of for &mut Writer<'_> {
            type Ok = ();
            type Error = AvroError;
            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), AvroError> {
                value.serialize(&mut **self)
            }
            fields_in_order!(@skip $($key)?);
            fn end(self) -> Result<(), AvroError> {
                Ok(())
            }
        }
    )*};
    (@skip $key:ty) => {
        fn skip_field(&mut self, _: $key) -> Result<(), AvroError> {
            Err(AvroError::Unsupported("a field that is left out"))
        }
    };
    (@skip) => {};
}
fields_in_order! {
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}
