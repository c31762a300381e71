//! Avro's binary encoding as a serde format, for types that agree with their schema.
//!
//! Records are written and read by the shape of their type alone: fields in order, an `Option` as the union of null and the
//! value, an enum with data as the union of its variants, a word enum as an Avro enum. That this is what the type's schema
//! says is checked by tests, not with every record: looking everything up in the schema took
//! a quarter of `audit verify`'s time (ADR 0005). The encoding is that of the Avro 1.12 specification, "Binary Encoding"; arrays are written as one block.

mod read;
mod write;

pub use read::read;
pub use write::{write, write_items};

/// Why a value cannot be written, or bytes cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    /// The bytes end within a value.
    #[error("the bytes end within a value")]
    End,
    /// A variable-length number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    TooLong,
    /// A length or count is negative or beyond the end.
    #[error("a length of {0} is beyond the end of the bytes")]
    Length(i64),
    /// A boolean that is neither 0 nor 1.
    #[error("a boolean is {0}, not 0 or 1")]
    Bool(u8),
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A union or an enum has no such branch.
    #[error("a union or an enum has no branch {0}")]
    Branch(i64),
    /// The type has no form in this encoding.
    #[error("{0} has no form in our Avro encoding")]
    Unsupported(&'static str),
    /// The type itself refused what was read.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for AvroError {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self::Custom(why.to_string())
    }
}
impl serde::de::Error for AvroError {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self::Custom(why.to_string())
    }
}

#[cfg(test)]
mod tests;
