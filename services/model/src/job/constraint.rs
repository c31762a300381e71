//! Constraints on an agent's attributes: `zone == eu-1`, `zone != us`, `rack in a, b`, `hostname like web-*`.

use crate::messages::Attribute;
/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {}
/// Why a text is not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ConstraintError {
    /// What is wrong.
    pub why: String,
}
impl Constraint {
    /// Reads the text.
    pub fn parse(_text: &str) -> Result<Self, ConstraintError> {
        Ok(Self {})
    }
    /// True if the attributes satisfy it.
    pub fn matches(&self, _attributes: &[Attribute]) -> bool {
        true
    }
}
