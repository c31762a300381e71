//! What happens to a log beside its commits: strays, open transactions, a machine and its clock, what is lost.

use super::SimLog;
use super::one_machine::OneMachine;
use orrery_log::TopicPartition;

impl SimLog {
    /// The next read of this partition with enough to read delivers records from further on, as if an earlier ownership's fetch
    /// came back: they say themselves where they were read from.
    pub fn stray(&self, at: TopicPartition, further: usize) {
        self.lock().stray = Some((at, further));
    }

    /// Somebody begins a transaction in these partitions and does not end it; what is committed there from now on is not readable.
    /// (Kafka: a late part of a transaction that has ended begins another one, before KIP-890; or another client of the brokers.)
    pub fn open_transaction(&self, places: &[TopicPartition]) {
        let mut inner = self.lock();
        for at in places {
            if let Some(partition) = inner.partition_mut(at) {
                partition.open();
            }
        }
    }

    /// All such transactions are ended, by whoever looks after the brokers: what lies behind them becomes readable.
    pub fn close_transactions(&self) {
        let mut inner = self.lock();
        let mut closed = Vec::new();
        for (topic, held) in &mut inner.topics {
            let of = (0..).zip(&mut held.partitions).filter_map(|(n, partition)| partition.close().then(|| (topic.clone(), n)));
            closed.extend(of);
        }
        closed.iter().for_each(|(topic, _)| inner.bells.ring(topic));
        // An end is a record too.
        inner.records += closed.len() as u64;
        inner.touched.extend(closed);
    }

    /// From now on it is the log of one machine, as the embedded one.
    pub fn set_one_machine(&self) {
        let mut inner = self.lock();
        inner.machine = Some(OneMachine::new((self.clock)()));
    }

    /// The machine's wall clock is so far ahead from now on.
    pub fn set_clock_ahead(&self, ahead_us: i64) {
        if let Some(machine) = &mut self.lock().machine {
            machine.set_ahead(ahead_us);
        }
    }

    /// It is closed and opened again, by another process or, if so, by a machine that was started again.
    pub fn reopen(&self, reboots: bool) {
        let mut inner = self.lock();
        let last_append = inner.last_append;
        if let Some(machine) = &mut inner.machine {
            machine.reopen((self.clock)(), last_append, reboots);
        }
    }

    /// What can be read of it goes on, the last records of these partitions cannot.
    pub fn salvage(&self, lost: &[(TopicPartition, usize)]) {
        let mut inner = self.lock();
        inner.late.clear();
        for (topic, held) in &mut inner.topics {
            for (n, partition) in (0..).zip(&mut held.partitions) {
                let of = |(at, _): &&(TopicPartition, usize)| *at.topic == **topic && at.partition == n;
                partition.salvage(lost.iter().find(of).map_or(0, |(_, records)| *records));
            }
        }
    }
}
