//! What a cluster says about itself, its topics and their offsets.
//!
//! Wraps: `rd_kafka_metadata`, the ids of cluster and controller, and the watermarks of a partition. Safety rule kept
//! here: an answer is copied field by field and freed before the call returns.

use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, codes};
use super::text::{millis, text};
use super::topic::{Topic, topic_name};

/// A topic as the cluster describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    /// The topic's own error.
    pub(crate) code: i32,
    /// Error and leader (-1: none) by partition.
    pub(crate) partitions: Vec<(i32, i32)>,
    /// In-sync replicas by partition.
    pub(crate) in_sync: Vec<u32>,
    /// Replicas of the partition that has fewest.
    pub(crate) replication: u32,
    /// The brokers' ids.
    pub(crate) brokers: Vec<i32>,
    /// The names or addresses by which the brokers tell clients to reach them.
    pub(crate) hosts: Vec<String>,
    /// Number and `host:port` of each broker, as they tell it.
    pub(crate) addresses: Vec<(i32, String)>,
}

impl Client {
    /// The cluster's id, if one came within the time.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the client is alive; the returned string is ours and freed once by the function made for it.
        unsafe {
            let id = rd::rd_kafka_clusterid(self.rk.as_ptr(), millis(timeout));
            let copy = (!id.is_null()).then(|| text(id));
            if !id.is_null() {
                rd::rd_kafka_mem_free(self.rk.as_ptr(), id.cast());
            }
            copy
        }
    }

    /// The broker that is the cluster's controller, without which no request of the admin API is answered.
    pub(crate) fn controller(&self, timeout: Duration) -> i32 {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_controllerid(self.rk.as_ptr(), millis(timeout)) }
    }

    /// Asks the cluster for one topic, or (with `None`) only whether it answers.
    pub(crate) fn metadata(&self, topic: Option<&Topic>, timeout: Duration) -> Result<TopicMetadata, Code> {
        let only = topic.map_or(ptr::null_mut(), |t| t.rkt.as_ptr());
        let mut answer: *const rd::rd_kafka_metadata = ptr::null();
        // SAFETY: client and topic are alive; the answer is ours when the call succeeds.
        let code = Code(unsafe { codes::rd_kafka_metadata(self.rk.as_ptr(), 0, only, &mut answer, millis(timeout)) });
        if code.is_error() || answer.is_null() {
            return Err(code);
        }
        let mut found = TopicMetadata::default();
        // SAFETY: the answer holds `broker_cnt` brokers and `topic_cnt` topics with `partition_cnt` partitions each; it
        // is only read, and its error fields only as integers.
        unsafe {
            found.brokers.extend((0..(*answer).broker_cnt as usize).map(|i| (*(*answer).brokers.add(i)).id));
            found.hosts.extend((0..(*answer).broker_cnt as usize).map(|i| text((*(*answer).brokers.add(i)).host)));
            found.addresses.extend((0..(*answer).broker_cnt as usize).map(|i| {
                let broker = (*answer).brokers.add(i);
                ((*broker).id, format!("{}:{}", text((*broker).host), (*broker).port))
            }));
            if (*answer).topic_cnt > 0 {
                let first = (*answer).topics;
                found.code = (&raw const (*first).err).cast::<i32>().read();
                for i in 0..usize::try_from((*first).partition_cnt).unwrap_or(0) {
                    let partition = (*first).partitions.add(i);
                    let id = usize::try_from((*partition).id).unwrap_or(i);
                    if found.partitions.len() <= id {
                        found.partitions.resize(id + 1, (0, -1));
                        found.in_sync.resize(id + 1, 0);
                    }
                    let replicas = u32::try_from((*partition).replica_cnt).unwrap_or(0);
                    found.replication = if i == 0 { replicas } else { found.replication.min(replicas) };
                    found.in_sync[id] = u32::try_from((*partition).isr_cnt).unwrap_or(0);
                    found.partitions[id] = ((&raw const (*partition).err).cast::<i32>().read(), (*partition).leader);
                }
            }
            rd::rd_kafka_metadata_destroy(answer);
        }
        Ok(found)
    }

    /// The names of all topics that the principal may see.
    pub(crate) fn topic_names(&self, timeout: Duration) -> Result<Vec<String>, Code> {
        let mut answer: *const rd::rd_kafka_metadata = ptr::null();
        // SAFETY: the client is alive; the answer is ours when the call succeeds.
        let code =
            Code(unsafe { codes::rd_kafka_metadata(self.rk.as_ptr(), 1, ptr::null_mut(), &mut answer, millis(timeout)) });
        if code.is_error() || answer.is_null() {
            return Err(code);
        }
        // SAFETY: the answer holds `topic_cnt` topics with their names, which are copied before it is freed.
        unsafe {
            let count = usize::try_from((*answer).topic_cnt).unwrap_or(0);
            let names = (0..count).map(|i| text((*(*answer).topics.add(i)).topic)).collect();
            rd::rd_kafka_metadata_destroy(answer);
            Ok(names)
        }
    }

    /// A partition's first and next offset; with `read_committed` the next is the last stable one.
    ///
    /// The client asks for each of both on its own. Where one answer is an error and comes together with the other, it
    /// forgets the error, and tells the other place for both: the partition seems empty. So what seems empty is asked
    /// until two answers are the same.
    pub(crate) fn watermarks(&self, topic: &str, partition: u32, timeout: Duration) -> Result<(i64, i64), Code> {
        let deadline = Instant::now() + timeout;
        let mut before = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ends = self.query_watermarks(topic, partition, left)?;
            if ends.0 != ends.1 || before == Some(ends) {
                return Ok(ends);
            }
            before = Some(ends);
        }
    }

    fn query_watermarks(&self, topic: &str, partition: u32, timeout: Duration) -> Result<(i64, i64), Code> {
        let topic = topic_name(topic)?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and name are alive, both places are written by the call.
        let code = unsafe {
            codes::rd_kafka_query_watermark_offsets(
                self.rk.as_ptr(),
                topic.as_ptr(),
                partition as i32,
                &mut low,
                &mut high,
                millis(timeout),
            )
        };
        if code == 0 { Ok((low, high)) } else { Err(Code(code)) }
    }
}
