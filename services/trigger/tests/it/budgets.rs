//! What one event, one job and one definition may cost.

use crate::rig::{Rig, event, lines};
use orrery_model::decider::Decider;
use orrery_model::messages::Origin;
use orrery_model::time::Timestamp;
use orrery_trigger::expr::WORK_MAX;
use orrery_trigger::{Decision, Input, Trigger};

/// Compares each item with each: 4,000,000 steps and more on [`equal_numbers`].
const DEAR: &str = "data.all(x, data.all(y, x == y))";

fn equal_numbers(count: usize) -> String {
    serde_json::Value::from(vec![1; count]).to_string()
}

fn handled(trigger: &mut Trigger, at: Timestamp, input: &Input) -> (Vec<Decision>, u64) {
    let mut decisions = Vec::new();
    trigger.handle(at, input, &mut decisions);
    (decisions, trigger.take_work())
}

#[test]
fn predicates_of_one_job_have_one_budget_for_an_event() {
    let mut rig = Rig::new();
    let triggers: Vec<String> = (0..100).map(|n| format!("{{event: t, when: '{DEAR} && data.size() == {n}'}}")).collect();
    rig.define(&format!("name: a\ncommand: [x]\ntriggers: [{}]", triggers.join(", ")));
    let input = Input::EventArrived { event: event("t", 1, &equal_numbers(1_000)) };
    rig.trigger.take_work();
    let (decisions, work) = handled(&mut rig.trigger, rig.at, &input);
    assert_eq!(
        lines(&decisions),
        "predicate of default/a failed: it takes too long: the event is too large for what is done with it",
        "told once, of the trigger at which it ended"
    );
    assert!((WORK_MAX..WORK_MAX + WORK_MAX / 100).contains(&work), "{work}");
}

#[test]
fn an_event_that_is_dear_to_many_jobs_is_shown_to_some_and_then_to_the_rest_while_schedules_run() {
    let mut rig = Rig::new();
    for n in 0..20 {
        rig.define(&format!("name: dear-{n:02}\ncommand: [x]\ntriggers: [{{event: t, when: '{DEAR}'}}]"));
    }
    rig.define("name: clock\ncommand: [x]\ntriggers: [{cron: '* * * * *'}]");
    rig.trigger.take_work();
    let input = Input::EventArrived { event: event("t", 1, &equal_numbers(400)) };
    let (decisions, first) = handled(&mut rig.trigger, rig.at, &input);
    assert!(matches!(decisions.last(), Some(Decision::EventParked { next: Some(_), .. })));
    let limit = 2 * WORK_MAX / 5;
    assert!(first < limit, "{first}");
    let due = rig.at.plus_ms(60_000);
    let (decisions, work) = handled(&mut rig.trigger, due, &Input::Tick {});
    assert!(matches!(decisions[0], Decision::RunCreated { .. }), "{}", lines(&decisions));
    assert!(lines(&decisions).starts_with("created default/clock"), "{}", lines(&decisions));
    assert!(work < limit, "{work}");
    let mut created = decisions;
    while rig.trigger.next_deadline().is_some_and(|next| next <= due) {
        let (decisions, work) = handled(&mut rig.trigger, due, &Input::Tick {});
        assert!(work < limit, "{work}");
        created.extend(decisions);
    }
    let runs = lines(&created).lines().filter(|line| line.starts_with("created default/dear")).count();
    let before = 20 - runs;
    assert!(runs > 10 && before > 0, "{runs} of 20 fired later, each once");
}

#[test]
fn the_jobs_before_one_are_looked_at_once_each() {
    const CHAIN: usize = 1_500;
    let mut trigger = Trigger::default();
    let at = Timestamp::parse("2026-11-21T00:00:00Z").unwrap();
    let mut offset = 0;
    let mut define = |name: &str, parents: &[String]| {
        offset += 1;
        let document = serde_json::json!({"name": name, "command": ["x"], "triggers": [{"after": parents}]});
        let document = if parents.is_empty() { serde_json::json!({"name": name, "command": ["x"]}) } else { document };
        let origin = Origin { topic: "jobs".into(), partition: 0, generation: 0, offset };
        let (principal, starts, read) = (None, Vec::new(), Vec::new());
        let input =
            Input::JobSubmitted { document: document.to_string(), principal, starts, origin, appended: Timestamp(at.0 + offset), read };
        handled(&mut trigger, at, &input)
    };
    define("job-0", &[]);
    for n in 1..CHAIN {
        let (decisions, _) = define(&format!("job-{n}"), &[format!("job-{}", n - 1)]);
        assert!(matches!(decisions[0], Decision::JobDefined { .. }), "{}", lines(&decisions));
    }
    let parents: Vec<String> = (0..100).map(|n| format!("job-{}", CHAIN - 1 - n)).collect();
    let (decisions, work) = define("last", &parents);
    assert!(matches!(decisions[0], Decision::JobDefined { .. }), "{}", lines(&decisions));
    assert!(work <= 20 * (CHAIN as u64 + 1), "{work}");
    let (decisions, _) = define("job-0", &["last".to_owned()]);
    assert!(lines(&decisions).contains("the jobs would wait for each other for ever: default/job-0 → default/last → "), "it is a circle");
}

#[test]
fn many_unknown_names_are_told_in_few_words() {
    let mut rig = Rig::new();
    rig.define("name: report\ncommand: [x]");
    let parents: Vec<String> = (0..100).map(|n| format!("repor{n}")).collect();
    let told = lines(&rig.define(&format!("name: a\ncommand: [x]\ntriggers: [{{after: [{}]}}]", parents.join(", "))));
    assert_eq!(told.matches("did you mean default/report?").count(), 1, "{told}");
    assert!(told.contains("\nand 80 more"), "{told}");
}

#[test]
fn an_event_that_is_dear_to_read_is_shown_to_jobs_all_the_same() {
    let mut rig = Rig::new();
    for name in ["a", "b"] {
        rig.define(&format!("name: {name}\ncommand: [x]\ntriggers: [{{event: t, when: 'data.kind == \"x\" || data[0] != null'}}]"));
    }
    // Long numbers within many lists: each list is looked through again.
    let value = format!("{}{:?}, 12345678901234567890{}", "[".repeat(100), "x".repeat(200_000), "]".repeat(100));
    let (mut decisions, work) = handled(&mut rig.trigger, rig.at, &Input::EventArrived { event: event("t", 1, &value) });
    assert!(work > WORK_MAX / 5, "{work}: it is dear");
    for _ in 0..4 {
        if rig.trigger.next_deadline().is_some_and(|due| due <= rig.at) {
            decisions.extend(handled(&mut rig.trigger, rig.at, &Input::Tick {}).0);
        }
    }
    assert_eq!(rig.trigger.next_deadline(), None, "it is parked for ever: {}", lines(&decisions));
    assert_eq!(lines(&decisions).matches("created default/").count() + lines(&decisions).matches("failed: ").count(), 2);
}

#[test]
fn a_long_chain_of_runs_that_fail_at_once_does_not_take_the_stack() {
    const CHAIN: usize = 300;
    let mut rig = Rig::new();
    for n in 0..CHAIN {
        let triggers =
            if n == 0 { serde_json::json!([]) } else { serde_json::json!([{"after": [format!("job-{}", n - 1)], "on": "failure"}]) };
        let document = serde_json::json!({"name": format!("job-{n}"), "command": ["{{ args.x }}"], "triggers": triggers}).to_string();
        let (origin, appended) = (rig.origin("jobs"), rig.at);
        let input = Input::JobSubmitted { document, principal: None, starts: Vec::new(), origin, appended, read: Vec::new() };
        handled(&mut rig.trigger, appended, &input);
    }
    let decisions = rig.run_job("job-0");
    let failed = decisions.iter().filter(|decision| matches!(decision, Decision::RunEnded { .. })).count();
    assert_eq!(failed, CHAIN);
}
