//! The Avro library is the judge: what it writes we read, what we write it reads, and the bytes are the same.

use super::*;
use crate::journal::DropReason as Word;
use apache_avro::{AvroSchema, Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[avro(repr = "bare_union")]
enum Shape {
    Nothing {},
    Circle { radius: i64 },
    Named { name: String, word: Word },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
struct Everything {
    flag: bool,
    small: i32,
    big: i64,
    text: String,
    payload: crate::payload::Payload,
    maybe: Option<String>,
    shapes: Vec<Shape>,
    nested: Vec<Vec<Option<i64>>>,
    word: Option<Word>,
}

fn schema() -> Schema {
    let text = serde_json::to_string(&Everything::get_schema()).expect("a schema is JSON");
    Schema::parse_str(&text).expect("a derived schema is one")
}

fn words() -> impl Strategy<Value = Word> {
    proptest::sample::select(Word::ALL)
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Nothing {}),
        any::<i64>().prop_map(|radius| Shape::Circle { radius }),
        (".{0,20}", words()).prop_map(|(name, word)| Shape::Named { name, word }),
    ]
}

prop_compose! {
    fn everything()(
        (flag, small, big) in any::<(bool, i32, i64)>(),
        (text, payload, maybe) in (".{0,100}", proptest::collection::vec(any::<u8>(), 0..200), proptest::option::of(".{0,9}")),
        shapes in proptest::collection::vec(shapes(), 0..4),
        nested in proptest::collection::vec(proptest::collection::vec(any::<Option<i64>>(), 0..3), 0..3),
        word in proptest::option::of(words()),
    ) -> Everything {
        let payload = payload.as_slice().into();
        Everything { flag, small, big, text, payload, maybe, shapes, nested, word }
    }
}

proptest! {
    #[test]
    fn bytes_are_those_of_the_library(value in everything()) {
        let schema = schema();
        let mut theirs = Vec::new();
        let writer = GenericDatumWriter::builder(&schema).human_readable(false).build().expect("a writer");
        writer.write_ser(&mut theirs, &value).expect("it writes");
        let mut ours = Vec::new();
        write(&mut ours, &value).expect("we write");
        prop_assert_eq!(&ours, &theirs);
        let reader = GenericDatumReader::builder(&schema).human_readable(false).build().expect("a reader");
        let read_by_them: Everything = reader.read_deser(&mut ours.as_slice()).expect("it reads");
        prop_assert_eq!(&read_by_them, &value);
        let mut rest = theirs.as_slice();
        prop_assert_eq!(&read::<Everything>(&mut rest).expect("we read"), &value);
        prop_assert!(rest.is_empty());
    }

    /// Other writers may cut an array into blocks and say their sizes.
    #[test]
    fn blocks_with_sizes_are_read(first in proptest::collection::vec(any::<i32>(), 1..5), second in proptest::collection::vec(any::<i32>(), 1..5)) {
        let mut bytes = Vec::new();
        for (block, sized) in [(&first, true), (&second, false)] {
            let mut items = Vec::new();
            block.iter().for_each(|item| write(&mut items, item).expect("a number"));
            let count = i64::try_from(block.len()).expect("few");
            write(&mut bytes, &if sized { -count } else { count }).expect("a count");
            if sized {
                write(&mut bytes, &i64::try_from(items.len()).expect("few")).expect("a size");
            }
            bytes.extend(items);
        }
        bytes.push(0);
        prop_assert_eq!(read::<Vec<i32>>(&mut bytes.as_slice()).expect("blocks"), [first, second].concat());
    }

    /// Bytes of an enemy or a damaged disk: an error or a value, never a panic, and no room made on a count's word.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read::<Everything>(&mut bytes.as_slice());
    }

    #[test]
    fn a_value_cut_short_is_refused(value in everything(), cut in 1..20usize) {
        let mut bytes = Vec::new();
        write(&mut bytes, &value).expect("we write");
        bytes.truncate(bytes.len().saturating_sub(cut));
        prop_assert!(read::<Everything>(&mut bytes.as_slice()).is_err());
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let read_as = |bytes: &[u8]| read::<Everything>(&mut &*bytes).expect_err("it is wrong").to_string();
    assert_eq!(read_as(&[2]), "a boolean is 2, not 0 or 1");
    assert_eq!(read_as(&[0]), "the bytes end within a value");
    assert_eq!(read_as(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), "a number has more than 64 bits");
    assert_eq!(read::<String>(&mut &[8, b'a'][..]), Err(AvroError::Length(4)));
    assert_eq!(read::<String>(&mut &[2, 0xff][..]), Err(AvroError::Text));
    assert_eq!(read::<Option<i32>>(&mut &[4][..]), Err(AvroError::Branch(2)));
    assert_eq!(read::<Word>(&mut &[100][..]), Err(AvroError::Branch(50)));
    assert_eq!(read::<Vec<i32>>(&mut &[200, 1, 2][..]), Err(AvroError::Length(100)));
}

#[test]
fn what_has_no_form_is_refused() {
    let map = std::collections::BTreeMap::from([(1, 2)]);
    assert_eq!(write(&mut Vec::new(), &map), Err(AvroError::Unsupported("a map")));
    assert_eq!(write(&mut Vec::new(), &1u64), Err(AvroError::Unsupported("u64")));
    assert_eq!(write(&mut Vec::new(), &1.5), Err(AvroError::Unsupported("a float")), "no decision depends on one");
}
