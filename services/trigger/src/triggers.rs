//! What makes a trigger the same in two definitions of a job: its content, wherever it stands in the list.
//!
//! Rows and decisions name a trigger by its place, which people see too. When a definition is replaced each place is translated
//! once, so that a trigger that stays keeps all that it had: since when it is there, where its schedule stands, which parents wait.

use orrery_model::job::{Trigger, TriggerKind};

/// For each trigger of a definition its place in the one before; none for one that is new. Two equal triggers are one.
pub(crate) fn places_before(now: &[Trigger], before: &[Trigger]) -> Vec<Option<usize>> {
    let before: Vec<Trigger> = before.iter().map(content).collect();
    let place = |trigger: &Trigger| {
        let content = content(trigger);
        before.iter().position(|other| *other == content)
    };
    now.iter().map(place).collect()
}

/// For each trigger of a definition: true if an equal one stands before it, which does all that it could do.
pub(crate) fn repeats(triggers: &[Trigger]) -> Vec<bool> {
    places_before(triggers, triggers).into_iter().enumerate().map(|(i, first)| first != Some(i)).collect()
}

/// A trigger as it is meant: defaults are written out, and neither spaces nor the order of parents count.
fn content(trigger: &Trigger) -> Trigger {
    let mut content = trigger.clone();
    match trigger.kind() {
        Some(TriggerKind::Cron(text)) => {
            content.cron = Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
            content.dialect = Some(trigger.dialect.unwrap_or_default());
            content.zone.get_or_insert_with(|| "UTC".to_owned());
        }
        Some(TriggerKind::Interval(text)) => content.interval = Some(text.trim().to_owned()),
        Some(TriggerKind::After(_)) => {
            content.on = Some(trigger.on.unwrap_or_default());
            content.after.sort_unstable();
            content.after.dedup();
        }
        Some(TriggerKind::At(_) | TriggerKind::Event(_)) | None => {}
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_known_by_what_it_means() {
        let read = |yaml: &str| {
            let document = format!("name: a\ncommand: [x]\ntriggers: [{yaml}]");
            orrery_model::job::read_documents(&document, orrery_model::job::Format::Yaml).expect("the types are right").remove(0).triggers
        };
        let before = read("{cron: '0 2 * * *'}, {interval: R//PT6S}, {after: [a, b]}, {event: t, when: 'data.n > 1'}");
        let now =
            read("{interval: R//PT7S}, {after: [b, a], on: success}, {interval: R//PT6S}, {cron: '0  2 * * *', zone: UTC}, {event: t}");
        assert_eq!(places_before(&now, &before), [None, Some(2), Some(1), Some(0), None]);
        assert_eq!(places_before(&read("{after: [a, b], on: any}, {cron: '0 2 * * *', zone: Europe/Paris}"), &before), [None, None]);
        assert_eq!(repeats(&read("{cron: '0 2 * * *'}, {event: t}, {cron: '0 2 * * *'}, {event: t}")), [false, false, true, true]);
    }
}
