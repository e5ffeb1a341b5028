//! The writing side: one idempotent producer, whose delivery reports answer whole batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;
use uuid::fmt::Hyphenated;

use super::{KafkaConfig, LogError, failed, number_of};
use crate::id::{ClickId, Epoch, PartitionId};
use crate::log::{Append, Rejected};

/// The header that makes a record without a value a tick.
pub(super) const TICK: &str = "linktide-tick";

pub(super) struct Producer {
    producer: ThreadedProducer<Deliveries>,
}

impl Producer {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let mut client = config.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.messages", "1000000")
            .set("partitioner", "murmur2_random");
        let producer = config.with_settings(client).create_with_context(Deliveries).map_err(failed)?;
        Ok(Self { producer })
    }

    /// Appends clicks; returns when the brokers have all of them.
    pub(super) async fn append(&self, topic: &str, records: &[Append]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(records.len());
        for Append { key, payload } in records {
            let mut text = [0; Hyphenated::LENGTH];
            let record = BaseRecord::with_opaque_to(topic, Arc::clone(&batch)).key(key_text(*key, &mut text));
            self.send(record.payload(payload.as_ref()), &batch);
        }
        batch.settle();
        answer.await.map_err(|_| LogError::Unavailable("the producer ended".to_owned()))?
    }

    /// Appends a value under a text key.
    pub(super) async fn put(&self, topic: &str, key: &str, value: &[u8]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(1);
        self.send(BaseRecord::with_opaque_to(topic, Arc::clone(&batch)).key(key.as_bytes()).payload(value), &batch);
        batch.settle();
        answer.await.map_err(|_| LogError::Unavailable("the producer ended".to_owned()))?
    }

    /// Appends rejects, keyed by where they came from: told twice, one of them stays.
    pub(super) async fn reject(&self, topic: &str, epoch: Epoch, rejected: &[Rejected]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(rejected.len());
        for reject in rejected {
            let key = format!("{epoch}/{}/{}", reject.partition, reject.offset);
            let value = serde_json::to_vec(reject).expect("a reject is plain values");
            let record = BaseRecord::with_opaque_to(topic, Arc::clone(&batch)).key(key.as_bytes());
            self.send(record.payload(value.as_slice()), &batch);
        }
        batch.settle();
        answer.await.map_err(|_| LogError::Unavailable("the producer ended".to_owned()))?
    }

    pub(super) async fn tick(&self, topic: &str, partition: PartitionId) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(1);
        let headers = OwnedHeaders::new().insert(Header { key: TICK, value: Some("1") });
        let record: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(topic, Arc::clone(&batch));
        self.send(record.partition(number_of(partition)).headers(headers), &batch);
        batch.settle();
        answer.await.map_err(|_| LogError::Unavailable("the producer ended".to_owned()))?
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8], Arc<Batch>>, batch: &Batch) {
        if let Err((error, _)) = self.producer.send(record) {
            batch.delivered(Err(error));
        }
    }
}

/// The key of a click as Kafka carries it: the id's text.
fn key_text(click: ClickId, text: &mut [u8; Hyphenated::LENGTH]) -> &[u8] {
    click.0.hyphenated().encode_lower(text).as_bytes()
}

type Answer = Result<(), LogError>;

/// Records that are answered together.
struct Batch {
    left: AtomicUsize,
    state: Mutex<(Option<KafkaError>, Option<oneshot::Sender<Answer>>)>,
}

impl Batch {
    /// A batch that is answered after so many deliveries and [`Batch::settle`].
    fn of(records: usize) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (done, answer) = oneshot::channel();
        (Arc::new(Self { left: AtomicUsize::new(records + 1), state: Mutex::new((None, Some(done))) }), answer)
    }

    /// All of it was handed over.
    fn settle(&self) {
        self.delivered(Ok(()));
    }

    fn delivered(&self, outcome: Result<(), KafkaError>) {
        if let Err(error) = outcome {
            self.state.lock().0.get_or_insert(error);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state.lock();
            let answer = state.0.take().map_or(Ok(()), |error| Err(failed(error)));
            if let Some(done) = state.1.take() {
                // Whoever no longer waits for the answer does not need it.
                let _ = done.send(answer);
            }
        }
    }
}

/// Hands delivery reports to the batches they belong to.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.delivered(result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}
