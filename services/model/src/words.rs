//! Enums that are one word each: the same word in JSON, Avro, tables of people, URLs.

/// Declares a word enum. A macro because the Avro derive takes no documented unit variants, and because the words
/// would otherwise be written four times.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The variant's word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
            /// The variant of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.word() == word)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
        impl apache_avro::serde::AvroSchemaComponent for $name {
            fn get_schema_in_ctxt(
                named: &mut std::collections::HashSet<apache_avro::schema::Name>,
                namespace: apache_avro::schema::NamespaceRef<'_>,
            ) -> apache_avro::Schema {
                $crate::words::enum_schema(stringify!($name), &[$($word,)*], named, namespace)
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
pub(crate) use words;

/// The Avro enum of these words, or a reference to it where the schema has it already.
pub(crate) fn enum_schema(
    name: &'static str,
    words: &[&str],
    named: &mut std::collections::HashSet<apache_avro::schema::Name>,
    namespace: apache_avro::schema::NamespaceRef<'_>,
) -> apache_avro::Schema {
    let name = apache_avro::schema::Name::new_with_enclosing_namespace(name, namespace).expect("a Rust type's name is an Avro name");
    if !named.insert(name.clone()) {
        return apache_avro::Schema::Ref { name };
    }
    let symbols = words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(",");
    apache_avro::Schema::parse_str(&format!(r#"{{"type":"enum","name":"{name}","symbols":[{symbols}]}}"#)).expect("words are Avro symbols")
}
