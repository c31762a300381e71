//! Holds `schemas/*.avsc` and the Rust types together.
//!
//! The files are what codecs read and what other languages use; this check says where a type has moved away from its file.

use apache_avro::Schema;
use std::path::{Path, PathBuf};

/// The folder of schema files, for tests and `make schemas`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// Compares each file with its type's schema; with `write`, makes the files follow the types.
pub fn compare(schemas: Vec<(&'static str, Schema)>, write: bool) -> Result<(), String> {
    for (file, schema) in schemas {
        let path = folder().join(file);
        let derived = serde_json::to_string_pretty(&schema).map_err(|e| e.to_string())? + "\n";
        if write {
            std::fs::write(&path, &derived).map_err(|e| format!("{file}: {e}"))?;
        }
        let stored = std::fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
        // What a derive makes is not always what a reader takes: a union named twice becomes a reference to nothing.
        Schema::parse_str(&stored).map_err(|e| format!("schemas/{file} cannot be read: {e}"))?;
        if stored != derived {
            return Err(format!("schemas/{file} and its Rust type differ; if the change is meant, run `make schemas`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_and_types_agree() {
        super::compare(crate::messages::schema_files(), option_env!("ORRERY_WRITE_SCHEMAS").is_some()).expect("schemas agree");
    }
}
