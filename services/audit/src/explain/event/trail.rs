//! What journals say of one event, gathered entry by entry: which entry or range accounts for it, and what was decided on it.

use super::EventPlace;
use crate::EntryView;
use crate::explain::reading::{Decided, decisions};
use orrery_model::id::JobName;
use orrery_model::journal::{DropReason, Dropped, Source};
use orrery_model::messages::{EventData, RunRecord};
use orrery_model::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeSet;

/// No time is asked about: every entry counts.
const EVER: Timestamp = Timestamp(i64::MAX);

/// How its reader's journal accounts for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// It is the source of an entry.
    Taken,
    /// It lies in a range that was read, or passed, and not taken.
    Dropped(DropReason),
}

/// What journals say of one event.
#[derive(Debug)]
pub struct Trail {
    place: EventPlace,
    entries: Vec<EntryView>,
    /// How it is accounted for, and which of the entries says so.
    account: Option<(Account, usize)>,
    position: Option<i64>,
}

impl Trail {
    /// Nothing is known yet.
    pub fn new(place: EventPlace) -> Self {
        Self { place, entries: Vec::new(), account: None, position: None }
    }

    /// Where the event stands.
    pub fn place(&self) -> &EventPlace {
        &self.place
    }

    /// Takes in what an entry says; true if it is about the event. Entries of one journal come in order.
    pub fn take(&mut self, view: EntryView) -> bool {
        let account = self.account_of(&view);
        let is_about = |decided: Decided<'_>| self.job_of(&decided).is_some() || self.parks(&decided);
        let about = account.is_some() || decisions(std::slice::from_ref(&view), EVER).any(is_about);
        if about && self.entries.iter().all(|known| known.place != view.place) {
            // An event of a later generation may have the same place.
            self.account = self.account.or(account.map(|account| (account, self.entries.len())));
            self.entries.push(view);
        }
        about
    }

    /// True once it is known what became of it at its reader: it is accounted for, and not to be shown to further jobs later.
    pub fn is_settled(&self) -> bool {
        let parked = self.decided().filter(|decided| self.parks(decided)).last();
        self.is_accounted_for() && parked.is_none_or(|parked| parked.fields["next"].is_null())
    }

    /// True if an entry accounts for it.
    pub fn is_accounted_for(&self) -> bool {
        self.account.is_some()
    }

    /// When the entry was made that accounts for it.
    pub fn read_at(&self) -> Option<Timestamp> {
        self.account().map(|(_, entry)| entry.at)
    }

    /// Up to where its partition was read, by the entry that was taken in last.
    pub fn position(&self) -> Option<i64> {
        self.position
    }

    /// The event as a journal has it: the input of an entry.
    pub fn event(&self) -> Option<EventData> {
        let event = |view: &EntryView| {
            let input = &view.entry["input"];
            let events = [&input["event_arrived"]["event"], &input["event_reread"]["event"], &input["fire_arrived"]["fire"]["event"]];
            events.into_iter().find(|event| self.place.is(event)).and_then(|event| EventData::deserialize(event).ok())
        };
        self.entries.iter().find_map(event)
    }

    /// The jobs that were decided on.
    pub fn jobs(&self) -> BTreeSet<JobName> {
        self.decided().filter_map(|decided| JobName::parse(self.job_of(&decided)?).ok()).collect()
    }

    /// The run that it made of a job, as it was made.
    pub fn run_of(&self, job: &JobName) -> Option<RunRecord> {
        self.decided_on(job).find(|decided| decided.kind == "run_created").and_then(|decided| decided.record())
    }

    /// When its reader sent it to the shard that owns a job, as it matches.
    pub fn forwarded_at(&self, job: &JobName) -> Option<Timestamp> {
        self.decided_on(job).find(|decided| decided.kind == "forwarded").map(|decided| decided.entry.at)
    }

    /// True once the owner's last word for a job is known.
    pub fn is_decided(&self, job: &JobName) -> bool {
        self.decided_on(job).any(|decided| matches!(decided.kind, "run_created" | "skipped"))
    }

    /// The entries that are about it.
    pub fn entries(&self) -> &[EntryView] {
        &self.entries
    }

    /// Gives them away.
    pub fn into_entries(self) -> Vec<EntryView> {
        self.entries
    }

    /// How it is accounted for, and by which entry.
    pub(super) fn account(&self) -> Option<(Account, &EntryView)> {
        self.account.and_then(|(account, entry)| Some((account, self.entries.get(entry)?)))
    }

    /// The decisions on it that concern a job.
    pub(super) fn decided_on<'t>(&'t self, job: &'t JobName) -> impl Iterator<Item = Decided<'t>> {
        self.decided().filter(move |decided| self.job_of(decided) == Some(job.as_str()))
    }

    fn decided(&self) -> impl Iterator<Item = Decided<'_>> {
        decisions(&self.entries, EVER)
    }

    /// The job that a decision on the event concerns; none of other decisions.
    fn job_of<'e>(&self, decided: &Decided<'e>) -> Option<&'e str> {
        let fields = decided.fields;
        let fire = match decided.kind {
            "run_created" => return fields["record"]["job"].as_str().filter(|_| self.names_it(decided)),
            "predicate_failed" | "skipped" => return decided.text("job").filter(|_| self.names_it(decided)),
            "forwarded" => &fields["forward"]["body"]["fire_forwarded"]["fire"],
            "fire_parked" => &fields["fire"],
            _ => return None,
        };
        fire["job"].as_str().filter(|_| self.place.is(&fire["event"]))
    }

    /// True if it goes on with the event, or ends with it, in another entry than the one that took it.
    fn parks(&self, decided: &Decided<'_>) -> bool {
        decided.kind == "event_parked" && self.names_it(decided)
    }

    fn names_it(&self, decided: &Decided<'_>) -> bool {
        decided.text("event").is_some_and(|event| self.place.is_named(event))
    }

    /// How an entry accounts for the event, if it does. What it says of the partition is where that stands.
    fn account_of(&mut self, view: &EntryView) -> Option<Account> {
        let EventPlace { topic, partition, offset: wanted } = &self.place;
        let is_input = |of: &str, number: i32| of == topic && i64::from(number) == i64::from(*partition);
        let mut account = None;
        for range in Vec::<Dropped>::deserialize(&view.entry["dropped"]).unwrap_or_default() {
            if is_input(&range.topic, range.partition) {
                self.position = Some(range.to);
                if (range.from..range.to).contains(wanted) {
                    account = Some(Account::Dropped(range.reason));
                }
            }
        }
        if let Ok(Source::FromRecord { topic: of, partition: number, offset, .. }) = Source::deserialize(&view.entry["source"])
            && is_input(&of, number)
        {
            self.position = Some(offset + 1);
            if offset == *wanted {
                account = Some(Account::Taken);
            }
        }
        account
    }
}
