//! Predicates taken apart, as tables.

use super::*;
use crate::event::tests::event;
use expect_test::{Expect, expect};

const ORDER: &str = r#"{"amount": 50, "kind": "refund", "items": [{"sku": "a"}], "deep": {"a b": null}}"#;

fn told(clause: &Clause, depth: usize, out: &mut Vec<String>) {
    let join = clause.join.map_or(String::new(), |join| format!("{join:?} of "));
    out.push(format!("{}{join}{}", "  ".repeat(depth), clause.in_words()));
    clause.parts.iter().for_each(|part| told(part, depth + 1, out));
}

fn check(source: &str, expected: Expect) {
    let event = event(ORDER, &[("source", "shop")]);
    let mut lines = Vec::new();
    told(&trace(source, &EventView::new(&event)).expect("it compiles"), 0, &mut lines);
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn conjunctions_and_alternatives_are_taken_apart() {
    check(
        "data.amount > 100 && (data.kind == 'refund' || key == \"a && b\") && headers.source == 'shop'",
        expect![[r#"
            All of data.amount > 100 && (data.kind == 'refund' || key == "a && b") && headers.source == 'shop' is false
              data.amount > 100 is false: data.amount = 50
              Any of (data.kind == 'refund' || key == "a && b") is true
                data.kind == 'refund' is true: data.kind = "refund"
                key == "a && b" is false: key = "customer-7"
              headers.source == 'shop' is true: headers.source = "shop""#]],
    );
}

#[test]
fn what_does_not_come_apart_is_told_whole() {
    check(
        "data.items.exists(i, i.sku == 'b' && i.sku != '')",
        expect![[r#"data.items.exists(i, i.sku == 'b' && i.sku != '') is false: data.items = [{"sku":"a"}]"#]],
    );
    check("partition == 3 ? offset > 42 : false", expect!["partition == 3 ? offset > 42 : false is false: partition = 3, offset = 42"]);
    check(
        "data.missing == 1 && data.deep['a b'] == null && data.items[0].sku == 'a'",
        expect![[r#"
            All of data.missing == 1 && data.deep['a b'] == null && data.items[0].sku == 'a' fails, there is no "missing"
              data.missing == 1 fails, there is no "missing": there is no data.missing
              data.deep['a b'] == null is true: data.deep["a b"] = null
              data.items[0].sku == 'a' is true: data.items[0].sku = "a""#]],
    );
}

#[test]
fn only_what_failed_is_named() {
    let event = event(ORDER, &[]);
    let failing = |source: &str| {
        let clause = trace(source, &EventView::new(&event)).expect("it compiles");
        clause.failing().into_iter().map(|clause| clause.text.clone()).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(failing("data.amount > 10 && data.kind == 'sale'"), "data.kind == 'sale'");
    assert_eq!(failing("data.amount > 100 || data.kind == 'sale'"), "data.amount > 100, data.kind == 'sale'");
    assert_eq!(failing("data.amount > 10 || data.kind == 'sale'"), "");
    assert!(trace("data.amount >", &EventView::new(&event)).is_err());
}
