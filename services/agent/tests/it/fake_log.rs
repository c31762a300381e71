//! A log in memory: the port's reads, appends and bells, and an outage on demand. No transactions: agents have none.

use orrery_log::{Bell, Fetch, Log, LogError, Topic, TopicPartition, Writer, clock};
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Default)]
pub(crate) struct FakeLog {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    records: BTreeMap<TopicPartition, Vec<Record>>,
    bells: Vec<(Vec<String>, Arc<Bell>)>,
    outage: bool,
}

impl FakeLog {
    /// While there is an outage nothing can be appended.
    pub(crate) fn set_outage(&self, outage: bool) {
        self.content.lock().expect("no test panics in here").outage = outage;
    }
}

impl Log for FakeLog {
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        Ok(Topic { name: name.into(), id: name.into(), partitions, cleanup })
    }

    fn topic(&self, _: &str) -> Result<Option<Topic>, LogError> {
        Ok(None)
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        Ok(Vec::new())
    }

    fn delete_topic(&self, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    fn fence(&self, _: &str) -> Result<Box<dyn Writer>, LogError> {
        Err(LogError::Poisoned { why: "this log has no transactions".into() })
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        let mut content = self.content.lock().expect("no test panics in here");
        if content.outage {
            return Err(LogError::Poisoned { why: "outage".into() });
        }
        let mut offsets = Vec::new();
        for record in records {
            content.bells.iter().filter(|(topics, _)| topics.contains(&record.topic)).for_each(|(_, bell)| bell.ring());
            let log = content.records.entry(TopicPartition::new(&record.topic, record.partition)).or_default();
            let offset = Offset::try_from(log.len()).expect("small");
            let NewRecord { key, value, headers, .. } = record;
            log.push(Record { offset, prev: offset, appended: clock::wall(), key, value, headers });
            offsets.push(offset);
        }
        Ok(offsets)
    }

    fn read(&self, at: &TopicPartition, from: Offset, _: usize) -> Result<Fetch, LogError> {
        let content = self.content.lock().expect("no test panics in here");
        let log = content.records.get(at).map_or(&[][..], Vec::as_slice);
        let records = log[usize::try_from(from).expect("no offset is negative").min(log.len())..].to_vec();
        Ok(Fetch { next: from + Offset::try_from(records.len()).expect("small"), records })
    }

    fn start_offset(&self, _: &TopicPartition) -> Result<Offset, LogError> {
        Ok(0)
    }

    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        Ok(Offset::try_from(self.content.lock().expect("no test panics in here").records.get(at).map_or(0, Vec::len)).expect("small"))
    }

    fn offset_at(&self, at: &TopicPartition, _: Timestamp) -> Result<Offset, LogError> {
        self.end_offset(at)
    }

    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>) {
        self.content
            .lock()
            .expect("no test panics in here")
            .bells
            .push((topics.iter().map(|&topic| topic.to_owned()).collect(), bell.clone()));
    }
}
