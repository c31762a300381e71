//! Bytes of other people, kept exactly as received.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// An event's data, cheap to clone. In Avro it is `bytes`; in JSON it is text where it is UTF-8, else `hex:` and digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Payload(pub Arc<[u8]>);

impl Payload {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// The text, where the bytes are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Payloads are in the order of their bytes.
impl Borrow<[u8]> for Payload {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "{text:?}"),
            None => write!(f, "{} bytes", self.0.len()),
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (s.is_human_readable(), self.text()) {
            (false, _) => s.serialize_bytes(&self.0),
            (true, Some(text)) => s.serialize_str(text),
            (true, None) => s.serialize_str(&format!("hex:{}", crate::codec::hex(&self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if !d.is_human_readable() {
            return serde_bytes::ByteBuf::deserialize(d).map(|b| Self(b.into_vec().into()));
        }
        let text = String::deserialize(d)?;
        let Some(digits) = text.strip_prefix("hex:") else { return Ok(Self(text.into_bytes().into())) };
        let pair = |i: usize| digits.get(i..i + 2).and_then(|p| u8::from_str_radix(p, 16).ok());
        (0..digits.len())
            .step_by(2)
            .map(pair)
            .collect::<Option<Vec<u8>>>()
            .map(|bytes| Self(bytes.into()))
            .ok_or_else(|| serde::de::Error::custom("the digits behind hex: are not pairs of hexadecimal digits"))
    }
}

impl apache_avro::serde::AvroSchemaComponent for Payload {
    fn get_schema_in_ctxt(
        _: &mut std::collections::HashSet<apache_avro::schema::Name>,
        _: apache_avro::schema::NamespaceRef<'_>,
    ) -> apache_avro::Schema {
        apache_avro::Schema::Bytes
    }
    fn get_record_fields_in_ctxt(
        _: &mut std::collections::HashSet<apache_avro::schema::Name>,
        _: apache_avro::schema::NamespaceRef<'_>,
    ) -> Option<Vec<apache_avro::schema::RecordField>> {
        None
    }
}
