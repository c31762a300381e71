//! No accepted expression, on no event, needs more memory or work than is allowed: random predicates and templates, and those that
//! once broke the shard, on events of the largest size and the worst shapes. They run on one thread of a process of their own,
//! whose highest use of memory is what is checked.
//!
//! `ORRERY_FUZZ_CASES` says how many (`make fuzz`). A failure prints the seed: `ORRERY_FUZZ_SEED` begins there.

use fastrand::Rng;
use orrery_model::time::Timestamp;
use orrery_trigger::EventData;
use orrery_trigger::event::EventView;
use orrery_trigger::expr::{Budget, WORK_MAX};
use orrery_trigger::predicate::Predicate;
use orrery_trigger::template::{TemplateContext, check, render};

const CASES: u64 = 1_000;
const PEAK_MAX_KIB: u64 = 64 << 10;

#[test]
fn no_expression_on_no_event_is_beyond_its_bounds() {
    let events: Vec<EventData> = worst_events().iter().map(|value| event(value)).collect();
    let before = peak_kib();
    let mut accepted = 0;
    for source in HARMFUL {
        let predicate = Predicate::compile(source).unwrap_or_else(|problem| panic!("{source}: {problem}"));
        events.iter().for_each(|event| evaluate(&predicate, event));
    }
    for template in harmful_templates() {
        events.iter().for_each(|event| rendered(&template, event));
    }
    let grown = peak_kib() - before;
    assert!(grown <= PEAK_MAX_KIB, "{grown} KiB more than before, with what once broke the shard");
    let first = setting("ORRERY_FUZZ_SEED", 0);
    for seed in first..first + setting("ORRERY_FUZZ_CASES", CASES) {
        let mut rng = Rng::with_seed(seed);
        let event = &events[rng.usize(0..events.len())];
        let source = predicate(&mut rng, 5);
        if let Ok(predicate) = Predicate::compile(&source) {
            accepted += 1;
            evaluate(&predicate, event);
        }
        let template = format!("{{{{ {} }}}}", jinja(&mut rng, 5));
        if check("command[0]", &template, &mut Budget::default()).is_ok() {
            accepted += 1;
            rendered(&template, event);
        }
        let grown = peak_kib() - before;
        assert!(grown <= PEAK_MAX_KIB, "seed {seed}: {grown} KiB more than before, with {source:.2000} or {template:.2000}");
    }
    assert!(accepted > 0, "the generator makes expressions that are accepted");
    println!("{accepted} expressions were accepted, and took at most {} KiB more than was there before", peak_kib() - before);
}

fn evaluate(predicate: &Predicate, event: &EventData) {
    let mut budget = Budget::default();
    let view = EventView::new(event);
    let found = predicate.matches(&view, &mut budget);
    assert!(budget.spent() <= WORK_MAX);
    assert!(!budget.is_exhausted() || found.is_err(), "what is beyond the budget is an error");
}

fn rendered(template: &str, event: &EventData) {
    let view = EventView::new(event);
    let context = TemplateContext { event: Some(&view), job: "a/b", run: "r", attempt: 1, cause: "c", nominal: None, args: &[] };
    let mut budget = Budget::default();
    let arguments = vec![template.to_owned(); 3];
    if let Ok(rendered) = render(&arguments, &context, &mut budget) {
        assert!(rendered.iter().all(|text| text.len() < 128 << 10));
    }
    assert!(budget.spent() <= WORK_MAX);
}

/// What once took gigabytes, or hours.
const HARMFUL: [&str; 15] = [
    "size(data.map(i, data + data)) > 0",
    "data.map(i, data.map(j, [i, j])).size() > 0",
    "data.map(a, data.map(b, data.map(c, data))).size() > 0",
    "data.all(x, x in data)",
    "data.all(x, data.all(y, x == y))",
    "data.map(x, string(x) + string(data.map(y, y)))[0] != ''",
    "data == data && [data, data, data] == [data, data, data]",
    "data.filter(x, data.filter(y, data.exists(z, z == y)) == data).size() == 0",
    "[1, 2, 3].map(a, data.map(b, data.map(c, c + c))).size() > 0",
    "data.s.size() > 0 || [data.s].map(x, x + x + x + x).map(x, x + x + x + x).map(x, x + x + x + x).map(x, x + x)[0] != ''",
    "data.l.map(x, data.s + 'x').size() > 0",
    "data.l.all(x, data.s.contains('yyyyyyyyyyyyyyyyy'))",
    "data.l.all(i, int(data.s) == 0 || double(data.s) == 0)",
    "18446744073709551615u * 18446744073709551615u > 0u",
    "{double('nan'): 1, 1.5: 2} == {}",
];

fn harmful_templates() -> Vec<String> {
    let many = |part: &str, between: &str, times: usize| vec![part; times].join(between);
    vec![
        format!("{{{{ [{}] | tojson }}}}", many("event.data", ", ", 4_000)),
        format!("{{{{ [{}] | join }}}}", many("event.data", ", ", 4_000)),
        format!("{{{{ [{}] | length }}}}", many("event.data", ", ", 4_000)),
        format!("{{{{ [{}] | length }}}}", many("1", ",", 65_000)),
        format!("{{{{ [{}] | length }}}}", many("job", ",", 32_000)),
        many("{{job}}", "", 18_000),
        format!("{{{{ {} }}}}", many("event.data", " ~ ", 4_000)),
        format!("{{{{ {} }}}}", many("event.data", " == ", 100)),
        format!("{{{{ event.data | tojson{} }}}}", " | tojson".repeat(60)),
        format!("{{{{ event.data | join('x'){} }}}}", " | replace('x', 'xxxxxxxxxxxx')".repeat(30)),
        format!("{{{{ event.data{} }}}}", " + event.data".repeat(100)),
        format!("{{{{ (event.data.s | upper){} }}}}", " ~ (event.data.s | upper)".repeat(100)),
        "{{ {'a': event.data, 'b': [event.data, event.data]} | tojson | tojson | tojson | length }}".to_owned(),
    ]
}

/// Values of an event, each as large as an event may be, by the shapes that cost most in memory.
fn worst_events() -> Vec<String> {
    let list = |item: &str| format!("[{}]", vec![item; 255_000 / (item.len() + 1)].join(","));
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(120), close.repeat(120));
    vec![
        list("1"),
        list("[]"),
        list("{}"),
        list("{\"\":0}"),
        list("\"\""),
        list("{\"a\":{\"b\":[1]}}"),
        list("340282366920938463463374607431768211457"),
        list(&deep("[", "]")),
        list(&deep("{\"a\":", "}")),
        format!("{{\"s\":{:?},\"l\":{}}}", "x".repeat(120_000), format_args!("[{}]", vec!["1"; 60_000].join(","))),
        format!("{{{}}}", (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")),
        format!("[{}, {}]", deep("[", "]").replace('1', "123456789012345678901"), list("1").replacen('1', "", 0)),
        format!("{:?}", "\u{1}".repeat(40_000)),
        "no JSON ".repeat(30_000),
    ]
}

fn event(value: &str) -> EventData {
    EventData {
        topic: "t".into(),
        topic_id: String::new(),
        generation: 0,
        partition: 0,
        offset: 0,
        appended: Timestamp(0),
        key: Some(b"k".as_slice().into()),
        headers: Vec::new(),
        value: Some(value.as_bytes().into()),
    }
}

/// A CEL expression; most are of the right types by their shape.
fn predicate(rng: &mut Rng, depth: u32) -> String {
    let mut one = |depth: u32| cel(rng, depth.saturating_sub(1));
    let (a, b) = (one(depth), one(depth));
    let list = collection(rng, depth);
    match rng.u32(0..5) {
        0 => format!("size({list}) > 0"),
        1 => format!("{list}.all(v{depth}, {a} == {b})"),
        2 => format!("{list}.exists(v{depth}, v{depth} == {a})"),
        3 => format!("{a} in {list}"),
        _ => format!("{list} == {}", collection(rng, depth)),
    }
}

fn collection(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 {
        return ["data", "data.l", "[data, data]", "[1, 2]", "headers"][rng.usize(0..5)].to_owned();
    }
    let list = collection(rng, depth - 1);
    let item = cel(rng, depth - 1);
    match rng.u32(0..6) {
        0 => format!("{list}.map(v{depth}, {item})"),
        1 => format!("{list}.map(v{depth}, {list})"),
        2 => format!("{list}.filter(v{depth}, v{depth} != {item})"),
        3 => format!("({list} + {})", collection(rng, depth - 1)),
        4 => format!("[{item}, {list}, {list}]"),
        _ => list,
    }
}

fn cel(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 {
        return ["data", "data.s", "key", "1", "'x'", "data[0]", "2.5", "null", "{'a': data}"][rng.usize(0..9)].to_owned();
    }
    let inner = cel(rng, depth - 1);
    match rng.u32(0..7) {
        0 => format!("({inner} + {inner})"),
        1 => format!("string({inner})"),
        2 => format!("{{'a': {inner}, 'b': {}}}", cel(rng, depth - 1)),
        3 => format!("size({}) * 18446744073709551615", collection(rng, depth - 1)),
        4 => format!("(true ? {inner} : {})", cel(rng, depth - 1)),
        5 => collection(rng, depth - 1),
        _ => inner,
    }
}

fn jinja(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 {
        return ["event.data", "event.data.s", "event.data.l", "event.key", "'x'", "1", "run.id"][rng.usize(0..7)].to_owned();
    }
    let inner = jinja(rng, depth - 1);
    match rng.u32(0..9) {
        0 => format!("[{}]", vec![inner.as_str(); rng.usize(1..50)].join(", ")),
        1 => format!("({inner} ~ {inner})"),
        2 => format!("({inner} + {})", jinja(rng, depth - 1)),
        3 => format!("({inner} | tojson)"),
        4 => format!("({inner} | default('y') | replace('', '{}'))", "z".repeat(rng.usize(0..60))),
        5 => format!("({inner} | join({}))", jinja(rng, depth - 1)),
        6 => format!("({inner} | {})", ["upper", "lower", "trim", "first", "last", "length", "int(0)", "float(1)"][rng.usize(0..8)]),
        7 => format!("{{'k': {inner}, 'l': {inner}}}"),
        _ => format!("({inner} == {} or {inner})", jinja(rng, depth - 1)),
    }
}

/// The most memory that this process has had so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[expect(clippy::disallowed_methods, reason = "how long to look is for who looks")]
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
