//! What the client crate does not offer, by the library's own interface (ADR 0008): the ids of topics, the members of groups, the
//! ends of partitions as a reader meets them and as the brokers tell them, and the names of all settings. Nothing outside of this
//! file is unsafe.
#![expect(unsafe_code, reason = "the safe client neither tells a topic's id nor where an end was met; see ADR 0008")]

use orrery_model::payload::Payload;
use orrery_model::record::Record;
use orrery_model::time::Timestamp;
use rdkafka::bindings as sys;
pub(super) use rdkafka::bindings::rd_kafka_IsolationLevel_t as Isolation;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientConfig, TopicPartitionList};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What a reader meets in a partition.
pub(super) enum Met {
    /// A committed record. `prev` is not known here.
    Record(Record),
    /// Nothing more for now: all before this offset was seen.
    End(i64),
    /// The partition cannot be read on.
    Failed(KafkaError),
}

/// Something met, and where.
pub(super) struct Polled {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) met: Met,
}

/// What a consumer meets next, in any of its partitions; nothing, if that takes too long or concerns no partition.
pub(super) fn poll<C: ClientContext>(client: &Client<C>, at_most: Duration) -> Option<Polled> {
    let timeout = millis(at_most);
    // Safety: the handle lives as long as `client`; the message is ours until it is destroyed, after its last use.
    unsafe {
        let message = sys::rd_kafka_consumer_poll(client.native_ptr(), timeout);
        if message.is_null() {
            return None;
        }
        let polled = read_message(&*message);
        sys::rd_kafka_message_destroy(message);
        polled
    }
}

/// Settings of a client, to be filled in: every client begins here, as the library uses OpenSSL from then on.
pub(super) fn new_client() -> ClientConfig {
    keep_tls_to_the_end();
    ClientConfig::new()
}

/// Keeps OpenSSL until the process is gone. By itself it clears away what it has when `main` returns, under the library's threads:
/// clients are closed by threads of their own, which nobody waits for, and a command that had done its work ended by a signal.
fn keep_tls_to_the_end() {
    unsafe extern "C" {
        fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
    }
    /// From openssl/crypto.h; it counts only before OpenSSL was used for the first time.
    const OPENSSL_INIT_NO_ATEXIT: u64 = 0x0008_0000;
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Safety: it may be called at any time and from any thread; no settings are passed.
    ONCE.call_once(|| unsafe {
        OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, null());
    });
}

/// How often connections of each consumer have failed; by its handle.
static TROUBLES: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

/// How often a connection of this client has failed, as far as its queue was polled.
pub(super) fn troubles<C: ClientContext>(client: &Client<C>) -> u64 {
    let troubles = TROUBLES.lock().unwrap_or_else(PoisonError::into_inner);
    troubles.get(&(client.native_ptr() as usize)).copied().unwrap_or(0)
}

/// Lets what the library has to say be told as everything else is: a client whose queue is polled by [`poll`] would print it.
pub(super) fn tell_by_tracing<C: ClientContext>(client: &Client<C>) {
    // Safety: the handle lives as long as `client`, and the function as long as the process.
    unsafe { sys::rd_kafka_set_logger(client.native_ptr(), Some(tell)) }
}

/// Safety: called by the library, with texts that end with a zero.
unsafe extern "C" fn tell(client: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, what: *const c_char) {
    // Safety: as the caller promises.
    let (facility, what) = unsafe { (text(facility), text(what)) };
    // Under this name come the errors of a client as a whole, one for each connection that fails: there is no other way to them for who
    // polls for messages.
    if facility == "ERROR" {
        *TROUBLES.lock().unwrap_or_else(PoisonError::into_inner).entry(client as usize).or_default() += 1;
    }
    match level {
        ..=4 => tracing::warn!(target: "librdkafka", facility, "{what}"),
        5..=6 => tracing::info!(target: "librdkafka", facility, "{what}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{what}"),
    }
}

/// Safety: a message as the library gave it.
unsafe fn read_message(message: &sys::rd_kafka_message_t) -> Option<Polled> {
    if message.rkt.is_null() {
        return None;
    }
    // Safety: a message with a topic names it, and its parts are as long as it says.
    unsafe {
        let topic = text(sys::rd_kafka_topic_name(message.rkt));
        let met = match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Met::Record(Record {
                offset: message.offset,
                prev: message.offset,
                appended: Timestamp(sys::rd_kafka_message_timestamp(message, null_mut()) * 1_000),
                key: payload(message.key, message.key_len),
                value: payload(message.payload, message.len),
                headers: headers(message),
            }),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Met::End(message.offset),
            code => Met::Failed(KafkaError::MessageConsumption(code.into())),
        };
        Some(Polled { topic, partition: u32::try_from(message.partition).ok()?, met })
    }
}

/// Safety: a pointer to so many bytes, or null.
unsafe fn payload(at: *const c_void, len: usize) -> Option<Payload> {
    // Safety: as the caller promises; a pointer that is not null may stand for no bytes.
    (!at.is_null()).then(|| unsafe { Payload::from(std::slice::from_raw_parts(at.cast::<u8>(), len)) })
}

/// Safety: a message as the library gave it.
unsafe fn headers(message: *const sys::rd_kafka_message_t) -> Vec<(String, Payload)> {
    let (mut all, mut found) = (null_mut(), Vec::new());
    // Safety: headers live as long as their message; each call fills in what it returns success for.
    unsafe {
        if sys::rd_kafka_message_headers(message, &raw mut all) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return found;
        }
        let (mut name, mut value, mut len) = (null::<c_char>(), null::<c_void>(), 0);
        while sys::rd_kafka_header_get_all(all, found.len(), &raw mut name, &raw mut value, &raw mut len)
            == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            found.push((text(name), payload(value, len).unwrap_or_default()));
        }
    }
    found
}

/// Safety: a text that ends with a zero, or null.
unsafe fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // Safety: as the caller promises.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) id: String,
    pub(super) partitions: u32,
}

/// Asks the brokers for a topic; none if there is no such topic.
pub(super) fn describe<C: ClientContext>(client: &Client<C>, name: &str, at_most: Duration) -> Result<Option<Described>, KafkaError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut names = [name.as_ptr()];
    // Safety: the collection is destroyed after its last use; the request lives as long as its answer is read.
    unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let request = Request::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, at_most);
        sys::rd_kafka_DescribeTopics(request.client, topics, request.options, request.queue);
        let described = request.answer().and_then(|event| read_description(event));
        sys::rd_kafka_TopicCollection_destroy(topics);
        described
    }
}

/// Where the one place of this list is: its end is behind all that is written there (the high watermark), or before the first
/// transaction that is open (the last stable offset).
pub(super) fn offset_of<C: ClientContext>(
    client: &Client<C>,
    place: &TopicPartitionList,
    isolation: Isolation,
    at_most: Duration,
) -> Result<i64, KafkaError> {
    // Safety: the list lives longer than the call; an option that is refused would have to be one of another request; the answer, as
    // long as it says, lives as long as the request.
    unsafe {
        let request = Request::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, at_most);
        sys::rd_kafka_AdminOptions_set_isolation_level(request.options, isolation);
        sys::rd_kafka_ListOffsets(request.client, place.ptr(), request.options, request.queue);
        let mut count = 0;
        let all = sys::rd_kafka_ListOffsets_result_infos(sys::rd_kafka_event_ListOffsets_result(request.answer()?), &raw mut count);
        let Some(found) = first(all, count) else {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        };
        let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(found);
        match found.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(found.offset),
            code => Err(KafkaError::OffsetFetch(code.into())),
        }
    }
}

/// The members of a group by the client ids that they gave, with the partitions that each is assigned, of either group protocol. A
/// group that nobody has joined has none.
pub(super) fn members<C: ClientContext>(client: &Client<C>, group: &str, at_most: Duration) -> Result<Vec<(String, Vec<u32>)>, KafkaError> {
    let Ok(group) = CString::new(group) else { return Ok(Vec::new()) };
    let mut groups = [group.as_ptr()];
    // Safety: the name lives longer than the call; what the answer holds is as long as it says, and lives as long as the request.
    unsafe {
        let request = Request::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, at_most);
        sys::rd_kafka_DescribeConsumerGroups(request.client, groups.as_mut_ptr(), groups.len(), request.options, request.queue);
        let answer = sys::rd_kafka_event_DescribeConsumerGroups_result(request.answer()?);
        let mut count = 0;
        let Some(group) = first(sys::rd_kafka_DescribeConsumerGroups_result_groups(answer, &raw mut count), count) else {
            return Ok(Vec::new());
        };
        match sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => return Ok(Vec::new()),
            code => return Err(KafkaError::MetadataFetch(code.into())),
        }
        let member = |place| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, place);
            let assignment = sys::rd_kafka_MemberDescription_assignment(member);
            let list = if assignment.is_null() { null() } else { sys::rd_kafka_MemberAssignment_partitions(assignment) };
            let places = match list.as_ref() {
                Some(list) if !list.elems.is_null() => std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0)),
                _ => &[],
            };
            let partitions = places.iter().filter_map(|place| u32::try_from(place.partition).ok());
            (text(sys::rd_kafka_MemberDescription_client_id(member)), partitions.collect())
        };
        Ok((0..sys::rd_kafka_ConsumerGroupDescription_member_count(group)).map(member).collect())
    }
}

/// A request of an administrator, with all that it takes.
struct Request {
    client: *mut sys::rd_kafka_t,
    options: *mut sys::rd_kafka_AdminOptions_t,
    queue: *mut sys::rd_kafka_queue_t,
    at_most: c_int,
    event: Cell<*mut sys::rd_kafka_event_t>,
}

impl Request {
    fn new<C: ClientContext>(client: &Client<C>, what: sys::rd_kafka_admin_op_t, at_most: Duration) -> Self {
        let (client, at_most) = (client.native_ptr(), millis(at_most));
        // Safety: the handle lives as long as `client`, and what is made here until this is dropped.
        let (options, queue) = unsafe { (sys::rd_kafka_AdminOptions_new(client, what), sys::rd_kafka_queue_new(client)) };
        let mut why = [0; 128];
        // Safety: the text is as long as it says.
        unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options, at_most, why.as_mut_ptr(), why.len()) };
        Self { client, options, queue, at_most, event: Cell::new(null_mut()) }
    }

    /// Waits for the answer, which is ours until this is dropped.
    fn answer(&self) -> Result<*mut sys::rd_kafka_event_t, KafkaError> {
        // Safety: the queue lives as long as this.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue, self.at_most) };
        if event.is_null() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        }
        self.event.set(event);
        // Safety: an event lives as long as this, from here on.
        match unsafe { sys::rd_kafka_event_error(event) } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            error => Err(KafkaError::MetadataFetch(error.into())),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Safety: what was made for this request, after its last use.
        unsafe {
            if !self.event.get().is_null() {
                sys::rd_kafka_event_destroy(self.event.get());
            }
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}

/// Safety: an array of so many pointers, or null.
unsafe fn first<T>(all: *mut *const T, count: usize) -> Option<*const T> {
    // Safety: as the caller promises.
    (!all.is_null() && count > 0).then(|| unsafe { *all })
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// Safety: an event that answers a description of one topic.
unsafe fn read_description(event: *mut sys::rd_kafka_event_t) -> Result<Option<Described>, KafkaError> {
    // Safety: the answer is as long as it says, and lives as long as its event.
    unsafe {
        let mut count = 0;
        let all = sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(event), &raw mut count);
        let Some(topic) = first(all, count) else { return Ok(None) };
        match sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION => return Ok(None),
            code => return Err(KafkaError::MetadataFetch(code.into())),
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let id = text(sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic)));
        Ok(Some(Described { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) }))
    }
}

/// Names of the settings of a client that have a value when nobody sets one.
pub(super) fn setting_names() -> &'static BTreeSet<String> {
    static NAMES: OnceLock<BTreeSet<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let native = new_client().create_native_config().expect("no setting is no wrong setting");
        let mut count = 0;
        // Safety: the dump is `count` texts, names and values in turn, and is freed after its last use.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(native.ptr(), &raw mut count);
            let names = (0..count).step_by(2).map(|at| text(*dump.add(at))).collect::<BTreeSet<String>>();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    })
}
