//! Stories as lines for people: a headline, then sections, each line with its mark, its code, and the entry that it follows from.

use super::super::output::text;
use orrery_model::time::format_span_ms;
use serde_json::Value;

/// Width of the words before a section's lines.
const WIDTH: usize = 10;

/// A run: what made it, what held it, where it went, how it ended, what would let it go on.
pub(super) fn run(answer: &Value) -> Vec<String> {
    let story = &answer["story"];
    let head = &story["headline"];
    let mut lines = sentence(answer);
    if head.is_object() {
        let why = head["why"].as_str().map_or_else(String::new, |why| format!(" — {why}"));
        let lasted = lasted(head["for_ms"].as_i64().unwrap_or(0));
        let evidence = evidence(&[&head["place"]], head["epoch"].as_i64());
        lines.push(format!("{} {lasted}{why}{evidence}", text(&head["word"])));
    }
    for section in ["trigger", "gates", "placement", "attempts"] {
        lines.extend(lines_of(section, &story[section]));
    }
    lines.extend(lines_of("next", &story["next"]));
    if story["expected"].is_object() {
        lines.push(format!(" {:WIDTH$} {}: {}", "expected", text(&story["expected"]["at"]), text(&story["expected"]["because"])));
    }
    lines.extend(cut_off(answer));
    lines
}

/// The answer in a sentence, if it is of now.
fn sentence(answer: &Value) -> Vec<String> {
    answer["why"].as_str().map_or_else(Vec::new, |why| vec![why.to_owned(), String::new()])
}

/// A job around a time.
pub(super) fn job(answer: &Value) -> Vec<String> {
    let story = &answer["story"];
    let mut lines = sentence(answer);
    lines.push(text(&story["answer"]));
    for section in ["definition", "schedule", "runs"] {
        lines.extend(lines_of(section, &story[section]));
    }
    for topic in items(&story["topics"]) {
        let when = topic["when"].as_str().map_or_else(String::new, |when| format!(" when {when}"));
        lines.push(format!(" {:WIDTH$} {}{when}", "events", text(&topic["topic"])));
        if items(&topic["events"]).next().is_none() {
            lines.push(format!(" {:WIDTH$}   there is no event near that time", ""));
        }
        items(&topic["events"]).for_each(|event| lines.extend(of_event(event)));
    }
    lines.extend(lines_of("next", &story["next"]));
    lines.extend(cut_off(answer));
    lines
}

/// An event: what it is, whether it was read, and what each job made of it, with the parts of its predicates.
pub(super) fn event(answer: &Value) -> Vec<String> {
    let story = &answer["story"];
    let mut lines = vec![text(&story["answer"])];
    lines.extend(lines_of("event", &story["record"]));
    lines.extend(lines_of("reading", &story["reading"]));
    for (i, job) in items(&story["jobs"]).enumerate() {
        let section = if i == 0 { "jobs" } else { "" };
        lines.push(format!(" {section:WIDTH$} {} of trigger/{}", text(&job["job"]), text(&job["shard"])));
        lines.extend(lines_of("", &job["lines"]));
        items(&job["traces"]).for_each(|trace| parts(trace, 1, &mut lines));
    }
    if let Some(others) = story["others"].as_i64().filter(|others| *others > 0) {
        lines.push(format!(" {:WIDTH$} and {others} other jobs that watch its topic", ""));
    }
    lines.extend(lines_of("next", &story["next"]));
    lines.extend(cut_off(answer));
    lines
}

/// An agent's session and its tasks.
pub(super) fn agent(answer: &Value) -> Vec<String> {
    let story = &answer["story"];
    let (count, cell) = (items(&story["attempts"]).count(), text(&answer["agent"]["cell"]));
    let (word, as_of) = (text(&story["word"]), text(&story["as_of"]));
    let mut lines = vec![format!("{} of cell {cell} {word} as of {as_of}, with {count} attempts", text(&story["agent"]))];
    for section in ["session", "tasks"] {
        lines.extend(lines_of(section, &story[section]));
    }
    lines.extend(cut_off(answer));
    lines
}

/// What waits, by reason.
pub(super) fn pending(answer: &Value) -> Vec<String> {
    let story = &answer["story"];
    let or_more = if story["or_more"] == true { " or more" } else { "" };
    let mut lines = vec![format!("{}{or_more} wait", text(&story["count"]))];
    for group in items(&story["groups"]) {
        let cell = group["cell"].as_u64().map_or_else(String::new, |cell| format!("in cell {cell}: "));
        lines.push(format!(
            "{:>6}  {:<20} {cell}{} ({})",
            text(&group["tasks"]),
            text(&group["code"]),
            text(&group["example"]),
            text(&group["subject"])
        ));
        lines.push(format!("{:>6}  {:<20} → {}", "", "", text(&group["next"])));
    }
    lines.push(String::new());
    lines
}

/// The journals of which not all was read.
fn cut_off(answer: &Value) -> Vec<String> {
    lines_of("cut off", &answer["cut_off"])
}

/// The lines of a section; its name stands before the first.
fn lines_of(section: &str, lines: &Value) -> Vec<String> {
    let name = |i: usize| if i == 0 { section } else { "" };
    items(lines).enumerate().map(|(i, line)| format!(" {:WIDTH$} {}", name(i), of_line(line))).collect()
}

fn of_line(line: &Value) -> String {
    let agents =
        line["agents"].as_i64().map_or_else(String::new, |agents| format!(" [{agents} agent{}]", if agents == 1 { "" } else { "s" }));
    format!(
        "{} {:<20} {}{agents}{}",
        glyph(&line["mark"]),
        text(&line["code"]),
        text(&line["text"]),
        evidence(&[&line["at"], &line["place"]], None)
    )
}

/// An event, and under it the parts of the predicate that kept it from matching.
fn of_event(event: &Value) -> Vec<String> {
    let distance = event["distance_ms"].as_i64().unwrap_or(0);
    let side = if distance < 0 { "before" } else { "after" };
    let head = format!("{} ({} {side})", text(&event["event"]), lasted(distance.abs()));
    let evidence = evidence(&[&event["place"]], None);
    let mark = glyph(&event["mark"]);
    let mut lines = vec![format!(" {:WIDTH$} {mark} {:<20} {head}: {}{evidence}", "", text(&event["code"]), text(&event["text"]))];
    if items(&event["trace"]["parts"]).next().is_some() {
        parts(&event["trace"], 1, &mut lines);
    }
    lines
}

fn parts(clause: &Value, depth: usize, lines: &mut Vec<String>) {
    for part in items(&clause["parts"]) {
        let result = part["error"].as_str().map_or_else(|| text(&part["result"]), str::to_owned);
        let mark = if part["result"] == true { "✓" } else { "✗" };
        let values = items(&part["values"]).map(|named| match &named["value"] {
            Value::Null => format!("{} is missing or null", text(&named["name"])),
            value => format!("{} = {value}", text(&named["name"])),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        lines.push(format!(" {:WIDTH$} {}{mark} {}  →  {result}   {values}", "", "    ".repeat(depth), text(&part["text"])));
        parts(part, depth + 1, lines);
    }
}

fn glyph(mark: &Value) -> &'static str {
    match mark.as_str() {
        Some("good") => "✓",
        Some("bad") => "✗",
        _ => "·",
    }
}

/// Times and places in brackets, as far as they are known.
fn evidence(parts: &[&Value], epoch: Option<i64>) -> String {
    let known = parts.iter().filter_map(|part| part.as_str().map(str::to_owned));
    let known = known.chain(epoch.map(|epoch| format!("epoch {epoch}"))).collect::<Vec<_>>().join(", ");
    if known.is_empty() { known } else { format!("   ({known})") }
}

/// A span to the second, from ten seconds on.
fn lasted(ms: i64) -> String {
    format_span_ms(if ms >= 10_000 { ms - ms % 1_000 } else { ms })
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_told_in_sections() {
        let line = |mark: &str, code: &str, words: &str| json!({"mark": mark, "code": code, "text": words, "place": "trigger/0@5.0"});
        let answer = json!({"why": "It waits.", "story": {
            "headline": {"word": "WAITING", "for_ms": 252_345, "why": "eligible, not placed", "place": "allocator/0@7.0", "epoch": 3},
            "trigger": [line("good", "TRIGGER_MATCH", "event t/0/1 matched")],
            "placement": [line("bad", "NEVER_FITS", "too large"), line("note", "SENT", "sent")],
            "next": [{"mark": "note", "code": "NEVER_FITS", "text": "ask for less"}],
            "expected": {"at": "2026-11-21T02:31:00Z", "because": "a run ends"},
        }});
        let told = run(&answer);
        assert_eq!(told[2], "WAITING 4m12s — eligible, not placed   (allocator/0@7.0, epoch 3)");
        assert_eq!(told[3], " trigger    ✓ TRIGGER_MATCH        event t/0/1 matched   (trigger/0@5.0)");
        assert!(told[4].starts_with(" placement  ✗ NEVER_FITS") && told[5].starts_with("            · SENT"), "{told:?}");
        assert_eq!(told.last().map(String::as_str), Some(" expected   2026-11-21T02:31:00Z: a run ends"));
    }

    #[test]
    fn what_was_not_read_or_not_counted_is_said() {
        let line = json!({"mark": "bad", "code": "CUT_OFF", "text": "reading allocator/3 was cut off at 8 MiB"});
        let told = run(&json!({"story": {}, "cut_off": [line]}));
        assert_eq!(told, [" cut off    ✗ CUT_OFF              reading allocator/3 was cut off at 8 MiB"]);
        let group = json!({"code": "NEVER_FITS", "cell": 1, "tasks": 2, "example": "too large", "subject": "r.1", "next": "ask for less"});
        let told = pending(&json!({"story": {"count": 10000, "or_more": true, "groups": [group]}}));
        assert_eq!(told[..2], ["10000 or more wait", "     2  NEVER_FITS           in cell 1: too large (r.1)"]);
    }

    #[test]
    fn an_event_is_told_job_by_job() {
        let line = |mark: &str, code: &str, words: &str| json!({"mark": mark, "code": code, "text": words});
        let part = json!({"text": "data.n > 1", "result": false, "values": [{"name": "data.n", "value": 1}]});
        let lines = [line("bad", "NO_TRIGGER_MATCH", "it is false")];
        let miss = json!({"job": "a/b", "shard": 3, "lines": lines, "traces": [{"parts": [part]}]});
        let fired = json!({"job": "a/c", "shard": 0, "lines": [line("good", "RUN", "run r was made")]});
        let answer = json!({"story": {"answer": "Event t/0/1 has fired 1 of 9 jobs.", "jobs": [miss, fired], "others": 7}});
        let told = event(&answer);
        assert_eq!(told[1], " jobs       a/b of trigger/3");
        assert_eq!(told[2], "            ✗ NO_TRIGGER_MATCH     it is false");
        assert_eq!(told[3], "                ✗ data.n > 1  →  false   data.n = 1");
        assert_eq!(told[4], "            a/c of trigger/0");
        assert_eq!(told[5], "            ✓ RUN                  run r was made");
        assert_eq!(told[6..], ["            and 7 other jobs that watch its topic"]);
    }
}
