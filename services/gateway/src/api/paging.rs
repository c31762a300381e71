//! Lists by name, a page at a time: as many items as an answer may hold.

use super::input;
use crate::problem::Answer;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Bytes of a page's items.
pub(super) const PAGE_BYTES: usize = 4 << 20;
/// Items of a page.
const ITEMS: usize = 1_000;

/// A page, as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// All that there are, on whatever page.
    count: usize,
    items: Vec<Box<RawValue>>,
    /// The cursor of the page behind this one.
    next: Option<String>,
}

/// The items behind the query's `cursor`, at most its `limit`. They come in the order of their names.
pub(super) fn page<'v, T, S: Serialize>(
    query: &BTreeMap<String, String>,
    all: impl Iterator<Item = (&'v str, T)>,
    show: impl Fn(T) -> S,
) -> Answer<Page> {
    let limit = input::limit(query.get("limit"), ITEMS, ITEMS)?;
    let cursor = query.get("cursor").map(String::as_str);
    let (mut page, mut bytes, mut last) = (Page { count: 0, items: Vec::new(), next: None }, 0, None);
    for (name, item) in all {
        page.count += 1;
        if page.next.is_some() || cursor.is_some_and(|cursor| name <= cursor) {
            continue;
        }
        if page.items.len() >= limit || bytes >= PAGE_BYTES {
            page.next = last.map(str::to_owned);
            continue;
        }
        let shown = to_raw_value(&show(item)).expect("what is shown has only text keys");
        bytes += shown.get().len();
        page.items.push(shown);
        last = Some(name);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_and_each_is_bounded() {
        let all: BTreeMap<String, usize> = (0..10).map(|n| (format!("n{n}"), n)).collect();
        let named = || all.iter().map(|(name, n)| (name.as_str(), n));
        let large = "x".repeat(PAGE_BYTES / 3);
        let (mut query, mut seen) = (BTreeMap::new(), 0);
        loop {
            let page = page(&query, named(), |n| (n, &large)).expect("a page");
            assert_eq!(page.count, 10);
            assert!(page.items.len() <= 4, "{} items of a third of a page", page.items.len());
            seen += page.items.len();
            let Some(next) = page.next else { break };
            query.insert("cursor".to_owned(), next);
        }
        assert_eq!(seen, 10);
        query = BTreeMap::from([("limit".to_owned(), "3".to_owned())]);
        let page = page(&query, named(), |n| n).expect("a page");
        assert_eq!((page.items.len(), page.next.as_deref()), (3, Some("n2")));
    }
}
