//! Rows from JSON as journals have it.

use super::*;
use serde_json::json;

fn table(name: &str) -> &'static [Column] {
    TABLES.iter().find(|(table, _)| *table == name).expect(name).1
}

/// The cells of a row that are there, as `name=value`.
fn row(table_name: &str, place: &Value, entry: &Value, fact: &Value) -> Vec<String> {
    let scope = Scope { place, entry, fact };
    let shown = |cell: Cell| match cell {
        Cell::Text(text) => text,
        Cell::Number(number) => number.to_string(),
        Cell::Time(time) => time.to_string(),
    };
    let cells = table(table_name).iter().filter_map(|column| Some(format!("{}={}", column.name, shown(column.cell(&scope)?))));
    cells.filter(|cell| !cell.starts_with("detail=")).collect()
}

/// The cells of a decision's row that are its own.
fn decision(fact: &Value) -> Vec<String> {
    row("decisions", &Value::Null, &Value::Null, fact)
}

#[test]
fn a_decision_is_found_with_its_place() {
    let place = json!({"service": "allocator", "shard": 2, "cell": 2, "offset": 7, "item": 0, "kind": "placed"});
    let entry = json!({"seq": 4, "at": "2026-11-21T07:33:28.628203Z", "epoch": 1, "actor": "allocator"});
    let fact = json!({"spec": {"attempt": "abcdefghij234567.2", "job": "a/b", "event": "{}"}, "order": 1, "agent": "n1"});
    assert_eq!(
        row("decisions", &place, &entry, &fact),
        [
            "service=allocator",
            "shard=2",
            "seq=4",
            "item=0",
            "record_offset=7",
            "decided_at=2026-11-21T07:33:28.628203Z",
            "epoch=1",
            "actor=allocator",
            "kind=placed",
            "job=a/b",
            "run=abcdefghij234567",
            "attempt=abcdefghij234567.2",
            "agent=n1",
            "cell=2",
        ]
    );
}

#[test]
fn job_run_event_and_reasons_are_found_wherever_they_stand() {
    let event = json!({"topic": "t", "generation": 1, "partition": 0, "offset": 9, "value": "{}"});
    let end = json!({"kind": "failed", "code": 3, "reason": "no luck"});
    for (fact, wanted) in [
        (
            json!({"record": {"run": "r", "job": "a/b", "state": "waiting", "agent": null}, "event": "t/0/4"}),
            "job=a/b run=r event=t/0/4 state=waiting",
        ),
        (json!({"event": event}), "event=t~1/0/9"),
        (json!({"number": 1, "fire": {"job": "a/b", "event": event}}), "job=a/b event=t~1/0/9"),
        (json!({"entry": {"job": "a/b"}}), "job=a/b"),
        (
            json!({"status": {"agent": "n", "attempt": "r.1", "change": {"task_ended": {"end": end}}}, "job": "a/b"}),
            "job=a/b run=r attempt=r.1 agent=n end_kind=failed reason=no luck",
        ),
        (json!({"attempt": "r.1", "reasons": [{"code": "A"}, {"code": "B"}]}), "run=r attempt=r.1 codes=A,B"),
        (json!({"code": "invalid", "detail": "it is wrong"}), "reason=it is wrong codes=invalid"),
        (json!({}), ""),
    ] {
        assert_eq!(decision(&fact).join(" "), wanted, "{fact}");
    }
}

#[test]
fn an_entry_counts_what_it_holds() {
    let entry = json!({
        "source": {"from_record": {"topic": "t", "partition": 1, "offset": 5}}, "decisions": [{}, {}],
        "dropped": [{"count": 2}, {"count": 3}], "chain": "c",
    });
    let fact = json!({"observation": {"idle": {}}});
    assert_eq!(
        row("entries", &Value::Null, &entry, &fact),
        ["observed=idle", "source_topic=t", "source_partition=1", "source_offset=5", "decisions=2", "dropped=5", "chain=c"]
    );
}

#[test]
fn a_run_has_waited_and_run() {
    let (made, started, ended) = ("2026-11-21T00:00:00Z", "2026-11-21T00:00:01.5Z", "2026-11-21T00:00:03.5Z");
    let run = json!({"run": "r", "cause": "event:t/0/1", "created_at": made, "started_at": started, "ended_at": ended, "end": {"code": 0}});
    let found = row("runs", &Value::Null, &Value::Null, &run);
    for wanted in ["cause_kind=event", "waited_ms=1500", "ran_ms=2000", "exit_code=0"] {
        assert!(found.iter().any(|cell| cell == wanted), "{wanted} is not in {found:?}");
    }
    let waiting = row("runs", &Value::Null, &Value::Null, &json!({"run": "r", "created_at": made, "started_at": null}));
    assert_eq!(waiting, ["run=r", "created_at=2026-11-21T00:00:00Z"]);
}

#[test]
fn names_are_unique_and_paths_have_roots() {
    for (name, columns) in TABLES {
        let names: std::collections::BTreeSet<&str> = columns.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), columns.len(), "{name}");
        for path in columns.iter().flat_map(|column| column.paths) {
            assert!(["place", "entry", "fact"].contains(&path.split('/').next().unwrap()), "{name}: {path}");
        }
    }
}

/// Users go by docs/export.md: under the heading of each table it has a line for each column, in order, with its type.
#[test]
fn the_documentation_has_every_column() {
    let page = include_str!("../../../../../docs/export.md");
    for (name, columns) in TABLES {
        let section = page.split_once(&format!("\n### {name}\n")).expect(name).1;
        let section = section.split("\n#").next().unwrap();
        let cells = |line: &str| line.split('|').take(2).map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>().join(" ");
        let told: Vec<String> = section.lines().filter_map(|line| line.strip_prefix("| `")).map(cells).collect();
        let word = |kind: Kind| match kind {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Time => "time",
        };
        let wanted: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, word(column.kind))).collect();
        assert_eq!(told, wanted, "docs/export.md, {name}");
    }
}
