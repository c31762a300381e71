//! Reports as people read them.

use crate::cli::Format;
use crate::cli::output::{plain_table, print_table, text, time};
use orrery_audit::whatif::{Comparison, Figures, Forecast, JobWait, Move, TimelineRun};
use orrery_model::time::{Timestamp, format_span_ms};
use serde_json::json;

/// Lines of a list that people are shown; `-o json` has all.
const LINES: usize = 20;

/// What would come; with `-o wide` every run.
pub(super) fn forecast(found: &Forecast, format: Format) {
    println!("{} to {}, {}, {}\n", found.from, found.until, found.policy.placement, found.policy.order);
    figures(&[("", &found.figures)]);
    waited(&found.figures);
    let shown = if format == Format::Wide { found.timeline.len() } else { LINES };
    let mut table = plain_table();
    table.set_header(["RUN", "JOB", "CREATED", "STARTED", "ENDED", "AGENT", "STATE"]);
    for TimelineRun { job, run, created, started, ended, agent, state, .. } in found.timeline.iter().take(shown) {
        let agent = agent.as_ref().map_or("-".to_owned(), ToString::to_string);
        table.add_row([run.to_string(), job.to_string(), at(Some(*created)), at(*started), at(*ended), agent, (*state).to_owned()]);
    }
    println!();
    print_table(table);
    if found.timeline.len() > shown {
        println!("… and {} more runs: -o wide or -o json shows them", found.timeline.len() - shown);
    }
}

/// What would have been.
pub(super) fn comparison(found: &Comparison) {
    println!("{} to {}\n", found.from, found.until);
    figures(&[("RECORDED", &found.recorded), ("AS IT IS", &found.baseline), ("CHANGED", &found.changed)]);
    if found.estimated_attempts > 0 {
        println!("\n{} attempts of the changed world were never recorded; their durations are estimated", found.estimated_attempts);
    }
    for refusal in &found.refused {
        println!("\nleft out in both worlds: {}, refused: {}", refusal.job.as_deref().unwrap_or("a job without a name"), refusal.reason);
    }
    shifts("wait less", &found.gained);
    shifts("wait more", &found.lost);
    match &found.first_difference {
        None => println!("\nno task is placed otherwise"),
        Some(first) => {
            println!("\nthe first difference, at {}:", first.at);
            println!("  as it is: {}\n  changed:  {}", step(first.baseline.as_ref()), step(first.changed.as_ref()));
        }
    }
    waited(&found.changed);
}

/// A column for each world.
fn figures(worlds: &[(&str, &Figures)]) {
    let mut table = plain_table();
    if worlds.len() > 1 {
        table.set_header(std::iter::once("").chain(worlds.iter().map(|(title, _)| *title)));
    }
    let mut row = |name: &str, cell: &dyn Fn(&Figures) -> String| {
        table.add_row(std::iter::once(name.to_owned()).chain(worlds.iter().map(|(_, world)| cell(world))));
    };
    row("runs", &|world| world.runs.to_string());
    row("states", &|world| world.states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "));
    row("attempts", &|world| world.attempts.to_string());
    row("never started", &|world| world.waiting.never_started.to_string());
    row("waiting p50", &|world| format_span_ms(world.waiting.p50_ms));
    row("waiting p90", &|world| format_span_ms(world.waiting.p90_ms));
    row("waiting p99", &|world| format_span_ms(world.waiting.p99_ms));
    row("waiting max", &|world| format_span_ms(world.waiting.max_ms));
    row("makespan", &|world| format_span_ms(world.makespan_ms));
    row("cpus used", &|world| per_cent(world.cpus.per_mille));
    row("cpus peak", &|world| format!("{} at {}", world.cpus.peak, at(world.cpus.peak_at)));
    row("memory used", &|world| per_cent(world.memory.per_mille));
    row("memory peak", &|world| format!("{} at {}", world.memory.peak, at(world.memory.peak_at)));
    print_table(table);
}

/// The longest waits.
fn waited(figures: &Figures) {
    if figures.waited.is_empty() {
        return;
    }
    println!("\n{} tasks waited for more than a second, the longest first:", figures.waited_long);
    let mut table = plain_table();
    table.set_header(["ATTEMPT", "JOB", "WANTED", "STARTED", "WAITED", "REASONS"]);
    for wait in figures.waited.iter().take(LINES) {
        let waited = format_span_ms(wait.waited_ms);
        let names = (wait.attempt.to_string(), wait.job.to_string());
        table.add_row([names.0, names.1, at(Some(wait.wanted)), at(wait.started), waited, wait.reasons.join(", ")]);
    }
    print_table(table);
}

fn shifts(what: &str, waits: &[JobWait]) {
    if waits.is_empty() {
        return;
    }
    println!("\njobs that {what} (as it is, changed):");
    let mut table = plain_table();
    for wait in waits.iter().take(LINES) {
        table.add_row([wait.job.to_string(), format_span_ms(wait.baseline_ms), format_span_ms(wait.changed_ms)]);
    }
    print_table(table);
}

fn step(step: Option<&Move>) -> String {
    let Some(Move { decision, attempt, job, agent, cell, .. }) = step else { return "nothing more".into() };
    format!("{decision} {attempt} of {}, agent {}, cell {cell}", text(&json!(job)), text(&json!(agent)))
}

fn at(at: Option<Timestamp>) -> String {
    time(&json!(at))
}

fn per_cent(per_mille: i64) -> String {
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}
