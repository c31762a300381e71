//! How long the dearest expressions take until their budget ends: on a large event, the best of three.

use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::metric::{Metric, metric};
use crate::suite::Context;
use orrery_model::time::Timestamp;
use orrery_trigger::EventData;
use orrery_trigger::event::EventView;
use orrery_trigger::expr::Budget;
use orrery_trigger::predicate::Predicate;
use orrery_trigger::template::{TemplateContext, render};

/// Each spends all of its budget, in steps of another kind.
const PREDICATES: [&str; 7] = [
    "data.l.all(x, data.l.all(y, x == y))",
    "data.l.all(x, x + 1.5 < 3 || data.l.exists(y, y * 2 == x))",
    "data.l.all(x, data.l == data.l)",
    "data.l.map(x, [x, x, x]).map(x, x + x).size() < 0",
    "data.l.all(x, data.s.contains('yyyyyyyyyyyyyyyyy') || data.s.size() > 0)",
    "data.l.map(x, {'a': x, 'b': data.m}).exists(m, m.b == {})",
    "data.l.all(x, string(x) + string(data.l[0]) != key)",
];

pub(crate) fn budgets(_: &mut Context) -> Result<Vec<Metric>> {
    let event = event();
    let mut slowest: f64 = 0.0;
    for source in PREDICATES {
        let predicate = Predicate::compile(source).map_err(|problem| format!("{source}: {problem}"))?;
        slowest = slowest.max(best_of_three(|| drop(predicate.matches(&EventView::new(&event), &mut Budget::default()))));
    }
    let view = EventView::new(&event);
    let context = TemplateContext { event: Some(&view), job: "a/b", run: "r", attempt: 1, cause: "c", nominal: None, args: &[] };
    let command = vec!["{{ event.data.l == event.data.l }}".to_owned(); 1_000];
    slowest = slowest.max(best_of_three(|| drop(render(&command, &context, &mut Budget::default()))));
    Ok(vec![metric("dearest_expression_ms", slowest, "ms")])
}

fn best_of_three(run: impl Fn()) -> f64 {
    let once = || {
        let began = monotonic_ns();
        run();
        seconds_since(began) * 1_000.0
    };
    once().min(once()).min(once())
}

fn event() -> EventData {
    let fields: Vec<String> = (0..2_000).map(|n| format!("\"k{n}\": {n}")).collect();
    let list = vec!["1"; 60_000].join(",");
    let value = format!("{{\"s\": {:?}, \"l\": [{list}], \"m\": {{{}}}}}", "x".repeat(80_000), fields.join(","));
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
