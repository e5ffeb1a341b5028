//! The writing side: one idempotent producer, whose delivery reports answer whole batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;
use uuid::fmt::Hyphenated;

use super::client::{failed, note, number_of};
use super::{KafkaConfig, LogError};
use crate::background;
use crate::id::{ClickId, Epoch, PartitionId};
use crate::log::{Append, Rejected};

/// The header that makes a record without a value a tick.
pub(super) const TICK: &str = "linktide-tick";
/// How long a record may wait for room in the producer's queue: as long as its delivery may take.
const ROOM_WITHIN: Duration = Duration::from_secs(30);
const LOOK_FOR_ROOM: Duration = Duration::from_millis(5);

type Native = ThreadedProducer<Deliveries>;
type Outgoing<'a> = BaseRecord<'a, [u8], [u8], Arc<Batch>>;

/// Clones share one connection.
#[derive(Clone)]
pub(super) struct Producer {
    config: KafkaConfig,
    /// Replaced when it can never send again.
    native: Arc<RwLock<Native>>,
}

impl Producer {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let native = Arc::new(RwLock::new(native(config)?));
        Ok(Self { config: config.clone(), native })
    }

    /// Appends clicks; returns when the brokers have all of them.
    pub(super) async fn append(&self, topic: &str, records: &[Append]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(records.len());
        for Append { key, payload } in records {
            let mut text = [0; Hyphenated::LENGTH];
            let key = key_text(*key, &mut text);
            let record: Outgoing<'_> = BaseRecord::with_opaque_to(topic, Arc::clone(&batch));
            self.send(record.key(key).payload(payload.as_ref()), &batch).await;
        }
        self.answered(&batch, answer).await
    }

    /// Appends a value under a text key.
    pub(super) async fn put(&self, topic: &str, key: &str, value: &[u8]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(1);
        let record: Outgoing<'_> = BaseRecord::with_opaque_to(topic, Arc::clone(&batch));
        self.send(record.key(key.as_bytes()).payload(value), &batch).await;
        self.answered(&batch, answer).await
    }

    /// Appends rejects, keyed by where they came from: told twice, one of them stays.
    pub(super) async fn reject(&self, topic: &str, epoch: Epoch, rejected: &[Rejected]) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(rejected.len());
        for reject in rejected {
            let key = format!("{epoch}/{}/{}", reject.partition, reject.offset);
            let value = serde_json::to_vec(reject).expect("a reject is plain values");
            let record: Outgoing<'_> = BaseRecord::with_opaque_to(topic, Arc::clone(&batch));
            self.send(record.key(key.as_bytes()).payload(value.as_slice()), &batch).await;
        }
        self.answered(&batch, answer).await
    }

    pub(super) async fn tick(&self, topic: &str, partition: PartitionId) -> Result<(), LogError> {
        let (batch, answer) = Batch::of(1);
        let headers = OwnedHeaders::new().insert(Header { key: TICK, value: Some("1") });
        let record: Outgoing<'_> = BaseRecord::with_opaque_to(topic, Arc::clone(&batch));
        self.send(record.partition(number_of(partition)).headers(headers), &batch).await;
        self.answered(&batch, answer).await
    }

    /// Waits until all that was handed over is delivered or given up, at most so long.
    pub(super) fn flush(&self, budget: Duration) {
        let native = self.native.read().clone();
        if let Err(error) = native.flush(budget) {
            tracing::warn!(%error, "kafka: not everything was sent before the end");
        }
    }

    /// Hands a record over; where the queue is full, as soon as there is room.
    async fn send(&self, mut record: Outgoing<'_>, batch: &Batch) {
        let until = Instant::now() + ROOM_WITHIN;
        loop {
            let sent = self.native.read().send(record);
            match sent {
                Ok(()) => return,
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) && Instant::now() < until =>
                {
                    record = back;
                    tokio::time::sleep(LOOK_FOR_ROOM).await;
                }
                Err((error, _)) => return batch.delivered(Err(error)),
            }
        }
    }

    async fn answered(&self, batch: &Batch, answer: oneshot::Receiver<Answer>) -> Result<(), LogError> {
        // All of it was handed over.
        batch.delivered(Ok(()));
        let answer = answer.await.map_err(|_| LogError::Unavailable("kafka: the producer ended".to_owned()))?;
        answer.map_err(|error| {
            self.replace_if_lost();
            match failed(error) {
                LogError::Unavailable(why) => LogError::Unavailable(format!(
                    "{why}; the brokers {} did not take what was sent, or not all of it",
                    self.config.brokers
                )),
                other => other,
            }
        })
    }

    /// An idempotent producer that lost count of what the brokers have refuses to send for good.
    fn replace_if_lost(&self) {
        let lost = self.native.read().client().fatal_error();
        let Some((code, why)) = lost else { return };
        tracing::error!(%code, why, "kafka: the producer cannot go on; a new one takes its place");
        let mut native = self.native.write();
        if native.client().fatal_error().is_some() {
            match self::native(&self.config) {
                Ok(new) => *native = new,
                Err(error) => tracing::error!(%error, "kafka: no new producer; the next append tries again"),
            }
        }
    }
}

fn native(config: &KafkaConfig) -> Result<Native, LogError> {
    let mut client = config.client();
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("message.timeout.ms", "30000")
        // Whoever appends holds the records all the same: here are only those on their way.
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "131072")
        .set("partitioner", "murmur2_random");
    let client = config.with_settings(client);
    // Nobody waits for its threads but who holds the records; a redirect beside them goes first.
    background::on_thread(|| client.create_with_context(Deliveries)).map_err(failed)
}

/// The key of a click as Kafka carries it: the id's text.
fn key_text(click: ClickId, text: &mut [u8; Hyphenated::LENGTH]) -> &[u8] {
    click.0.hyphenated().encode_lower(text).as_bytes()
}

type Answer = Result<(), KafkaError>;

/// Records that are answered together.
struct Batch {
    left: AtomicUsize,
    state: Mutex<(Option<KafkaError>, Option<oneshot::Sender<Answer>>)>,
}

impl Batch {
    /// A batch that is answered after so many deliveries and one more, for the end of handing over.
    fn of(records: usize) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (done, answer) = oneshot::channel();
        (Arc::new(Self { left: AtomicUsize::new(records + 1), state: Mutex::new((None, Some(done))) }), answer)
    }

    fn delivered(&self, outcome: Answer) {
        if let Err(error) = outcome {
            self.state.lock().0.get_or_insert(error);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state.lock();
            let answer = state.0.take().map_or(Ok(()), Err);
            if let Some(done) = state.1.take() {
                // Whoever no longer waits for the answer does not need it.
                let _ = done.send(answer);
            }
        }
    }
}

/// Hands delivery reports to the batches they belong to.
struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        note(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Whoever appends is told; the reason is for those who look closer.
        tracing::debug!(%error, reason, "kafka: the producer has trouble");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.delivered(result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}
