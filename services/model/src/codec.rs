//! Avro codecs driven by `schemas/*.avsc`.
//!
//! Our own records are written in Avro single-object encoding: `C3 01`, the schema's CRC-64-AVRO fingerprint
//! (little endian), the datum. A type's schema file is the source of truth; a test compares it with the type.

use crate::avro::{self, AvroError};
use apache_avro::{Schema, rabin::Rabin, reader::datum::GenericDatumReader};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// First two bytes of Avro single-object encoding.
pub const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// Length of the single-object header: marker and fingerprint.
pub const HEADER_LEN: usize = 10;
/// What most records and items fit into, so that writing seldom grows.
const ENCODED_BYTES: usize = 256;

/// Why bytes are not a record of the expected type.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Neither a marker that we know nor JSON.
    #[error("the value is neither Avro single-object encoding (C3 01) nor JSON: it begins with {first:02x?}")]
    UnknownFormat {
        /// The first bytes.
        first: Vec<u8>,
    },
    /// Written with a schema that this version does not have.
    #[error("schema fingerprint {fingerprint} is not known here; expected {expected} ({name})")]
    UnknownSchema {
        /// The schema's name.
        name: String,
        /// In the record, hex.
        fingerprint: String,
        /// Ours, hex.
        expected: String,
    },
    /// The datum does not follow its schema.
    #[error("the value does not follow schema {name}: {source}")]
    Avro {
        /// The schema's name.
        name: String,
        /// What the reader found.
        source: AvroError,
    },
    /// Bytes are left behind the datum.
    #[error("{left} bytes are left over behind a value of schema {name}")]
    LeftOver {
        /// The schema's name.
        name: String,
        /// How many.
        left: usize,
    },
    /// The JSON form is not a record of this type.
    #[error("the value is not a JSON {name}: {source}")]
    Json {
        /// The schema's name.
        name: String,
        /// What the JSON reader found.
        source: serde_json::Error,
    },
}

/// Writes and reads one record type with one schema.
pub struct Codec<T> {
    name: String,
    fingerprint: [u8; 8],
    schema: Schema,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// Compiles a schema file. Schemas are compiled in, so a bad one is a defect of this build and panics at first use.
    pub fn new(avsc: &str) -> Self {
        let schema = Schema::parse_str(avsc).expect("schemas/*.avsc are valid Avro, which a test checks");
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&schema.fingerprint::<Rabin>().bytes);
        Self { name: schema.name().map_or_else(|| "unnamed".into(), ToString::to_string), fingerprint, schema, record: PhantomData }
    }

    /// The record in single-object encoding.
    pub fn encode(&self, record: &T) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENCODED_BYTES);
        out.extend_from_slice(&self.header());
        write(&mut out, record);
        out
    }

    /// How single-object encoding begins.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..2].copy_from_slice(&SINGLE_OBJECT);
        header[2..].copy_from_slice(&self.fingerprint);
        header
    }

    /// For a record that is one list: one of items that were written before, as by [`encode_item`].
    pub fn encode_items<'i>(&self, items: impl ExactSizeIterator<Item = &'i [u8]> + Clone) -> Vec<u8> {
        let bytes: usize = items.clone().map(<[u8]>::len).sum();
        let mut out = Vec::with_capacity(HEADER_LEN + 16 + bytes);
        out.extend_from_slice(&self.header());
        avro::write_items(&mut out, items);
        out
    }

    /// Reads single-object encoding.
    pub fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        if bytes.len() < HEADER_LEN || bytes[..2] != SINGLE_OBJECT {
            return Err(CodecError::UnknownFormat { first: bytes.iter().take(4).copied().collect() });
        }
        if bytes[2..HEADER_LEN] != self.fingerprint {
            return Err(CodecError::UnknownSchema {
                name: self.name.clone(),
                fingerprint: hex(&bytes[2..HEADER_LEN]),
                expected: hex(&self.fingerprint),
            });
        }
        let mut rest = &bytes[HEADER_LEN..];
        let record = avro::read(&mut rest).map_err(|source| CodecError::Avro { name: self.name.clone(), source })?;
        if !rest.is_empty() {
            return Err(CodecError::LeftOver { name: self.name.clone(), left: rest.len() });
        }
        Ok(record)
    }

    /// True if this header of single-object encoding is of this codec's schema.
    pub fn wrote(&self, header: &[u8; HEADER_LEN]) -> bool {
        *header == self.header()
    }

    /// What a reader sees that has the schema alone, through the Avro library: tests hold our encoding to it.
    pub fn as_others_read(&self, bytes: &[u8]) -> Result<apache_avro::types::Value, String> {
        let mut rest = bytes.get(HEADER_LEN..).ok_or("shorter than its header")?;
        let reader = GenericDatumReader::builder(&self.schema).build().map_err(|e| e.to_string())?;
        let value = reader.read_value(&mut rest).map_err(|e| e.to_string())?;
        if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes are left over", rest.len())) }
    }

    /// Reads single-object encoding or, from producers that are not ours, plain JSON.
    pub fn decode_or_json(&self, bytes: &[u8]) -> Result<T, CodecError> {
        match bytes.first() {
            Some(b'{') => serde_json::from_slice(bytes).map_err(|source| CodecError::Json { name: self.name.clone(), source }),
            _ => self.decode(bytes),
        }
    }
}

/// An item of a record that is one list, for [`Codec::encode_items`].
pub fn encode_item<I: Serialize>(item: &I) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENCODED_BYTES);
    write(&mut out, item);
    out
}

/// Reads an item of such a record from the front of `rest`.
pub fn decode_item<I: DeserializeOwned>(rest: &mut &[u8]) -> Result<I, AvroError> {
    avro::read(rest)
}

fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    avro::write(out, value).expect("types of records have an Avro form, which their tests check");
}

/// Reads an Avro long from the front of `rest`.
pub fn read_long(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS[usize::from(value)];
    let mut out = vec![0; 2 * bytes.len()];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    String::from_utf8(out).expect("digits are ASCII")
}

/// Gives a type that serde writes as text the Avro schema `string`.
macro_rules! avro_text {
    ($name:ty) => {
        $crate::codec::avro_as!($name, String);
    };
}
pub(crate) use avro_text;

/// Gives a newtype the Avro schema of the type that serde writes it as.
macro_rules! avro_as {
    ($name:ty, $as:ty) => {
        impl apache_avro::serde::AvroSchemaComponent for $name {
            fn get_schema_in_ctxt(
                named: &mut std::collections::HashSet<apache_avro::schema::Name>,
                namespace: apache_avro::schema::NamespaceRef<'_>,
            ) -> apache_avro::Schema {
                <$as as apache_avro::serde::AvroSchemaComponent>::get_schema_in_ctxt(named, namespace)
            }
            fn get_record_fields_in_ctxt(
                _: &mut std::collections::HashSet<apache_avro::schema::Name>,
                _: apache_avro::schema::NamespaceRef<'_>,
            ) -> Option<Vec<apache_avro::schema::RecordField>> {
                None
            }
        }
    };
}
pub(crate) use avro_as;
