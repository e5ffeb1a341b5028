//! Several readers share the partitions, and the group knows how far they have come.

use std::collections::BTreeSet;

use super::*;
use crate::bucket::Timestamp;
use crate::log::{Position, Positions};

/// A member that starts each partition where `started` says and remembers what it was delivered.
struct Member {
    reader: KafkaReader,
    own: BTreeSet<PartitionId>,
    /// The next offset of each partition, as whoever stores counts would know it: it outlives members.
    next: Arc<Mutex<BTreeMap<PartitionId, Offset>>>,
    read: usize,
}

impl Member {
    fn join(log: &Arc<KafkaLog>, group: &str, next: &Arc<Mutex<BTreeMap<PartitionId, Offset>>>) -> Self {
        Self { reader: log.reader(group).unwrap(), own: BTreeSet::new(), next: Arc::clone(next), read: 0 }
    }

    async fn step(&mut self) {
        match self.reader.poll(50, SOON).await.unwrap() {
            Event::Assigned(partitions) => {
                for partition in partitions {
                    assert!(self.own.insert(partition), "{partition} was assigned twice");
                    let from = self.next.lock().get(&partition).copied().unwrap_or_default();
                    self.reader.seek(partition, from).await.unwrap();
                }
            }
            Event::Revoked(partitions) => {
                for partition in partitions {
                    assert!(self.own.remove(&partition), "{partition} was not its own");
                }
            }
            Event::Records(records) => {
                for record in records {
                    assert!(self.own.contains(&record.partition), "{} is another's", record.partition);
                    // Each record follows the one before, whoever read that: none is lost, none comes twice.
                    let mut next = self.next.lock();
                    let expected = next.insert(record.partition, record.offset.next()).unwrap_or_default();
                    assert_eq!(record.offset, expected, "partition {}", record.partition);
                    self.read += 1;
                }
            }
        }
    }
}

/// Lets members read in turn, with clicks coming in, until `holds`.
async fn until(log: &Arc<KafkaLog>, members: &mut [&mut Member], what: &str, holds: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + WITHIN;
    let mut number = 0;
    while !holds(members) {
        assert!(Instant::now() < deadline, "not in time: {what}");
        log.append((number..number + 20).map(click).collect()).await.unwrap();
        number += 20;
        for member in members.iter_mut() {
            member.step().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_partitions_and_take_over_those_of_one_that_leaves() {
    let log = fresh(config("members")).await;
    let next = Arc::default();
    let mut one = Member::join(&log, "members", &next);
    until(&log, &mut [&mut one], "the first has all", |members| members[0].own.len() == 4 && members[0].read > 100)
        .await;
    let mut other = Member::join(&log, "members", &next);
    until(&log, &mut [&mut one, &mut other], "they share", |members| {
        members.iter().all(|member| member.own.len() == 2) && members[1].read > 100
    })
    .await;
    assert!(one.own.is_disjoint(&other.own));
    let read = other.read;
    drop(one);
    until(&log, &mut [&mut other], "the other has all", |members| {
        members[0].own.len() == 4 && members[0].read > read + 200
    })
    .await;
    // All that was appended up to now is read, each record once: `step` asserts the rest.
    let ends = other.reader.ends(&other.own.iter().copied().collect::<Vec<_>>()).await.unwrap();
    let deadline = Instant::now() + WITHIN;
    while ends.iter().any(|(partition, end)| next.lock().get(partition) < Some(end)) {
        assert!(Instant::now() < deadline, "not all was read");
        other.step().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_partitions_are_read_on_while_others_move() {
    let log = fresh(config("cooperative")).await;
    let next = Arc::default();
    let mut one = Member::join(&log, "cooperative", &next);
    until(&log, &mut [&mut one], "the first has all", |members| members[0].own.len() == 4).await;
    let mut other = Member::join(&log, "cooperative", &next);
    let mut fewest = 4;
    let deadline = Instant::now() + WITHIN;
    while other.own.len() < 2 {
        assert!(Instant::now() < deadline, "they do not share");
        one.step().await;
        other.step().await;
        fewest = fewest.min(one.own.len());
    }
    assert_eq!(fewest, 2, "a cooperative rebalance takes away only what moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_assigned_soon() {
    let mut config = config("widened");
    config.settings.insert("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned());
    let log = fresh(config.clone()).await;
    let next = Arc::default();
    let mut one = Member::join(&log, "widened", &next);
    until(&log, &mut [&mut one], "it has all", |members| members[0].own.len() == 4).await;
    widen(&config, 6).await;
    until(&log, &mut [&mut one], "it has the new ones", |members| members[0].own.len() == 6).await;
    assert_eq!(log.partitions().await.unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_the_group_has_come_stands_in_kafka_and_nothing_starts_from_it() {
    let log = fresh(config("committed")).await;
    log.append((0..400).map(click).collect()).await.unwrap();
    let mut reader = log.reader("committed").unwrap();
    let partitions = assigned(&mut reader).await;
    let at = |offset| Position { offset: Offset(offset), received_at: Timestamp::from_millis(0).unwrap() };
    let positions: Positions =
        partitions.iter().map(|partition| (*partition, at(u64::from(partition.0) + 10))).collect();
    reader.commit(&positions).await.unwrap();
    // As an autoscaler reads it.
    let scaler: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &log.config.brokers)
        .set("group.id", "committed")
        .create()
        .unwrap();
    let deadline = Instant::now() + WITHIN;
    loop {
        assert!(Instant::now() < deadline, "the group was not told");
        assert_eq!(reader.poll(10, SOON).await.unwrap(), Event::Records(Vec::new()), "nothing was sought");
        let mut list = TopicPartitionList::new();
        list.add_partition_range("committed", 0, 3);
        let committed = scaler.committed_offsets(list, WITHIN).unwrap();
        let told: Vec<_> = committed.elements().iter().map(|about| about.offset()).collect();
        if told == (10..14).map(Place::Offset).collect::<Vec<_>>() {
            break;
        }
    }
    drop(reader);
    let mut reader = log.reader("committed").unwrap();
    for partition in assigned(&mut reader).await {
        reader.seek(partition, Offset(0)).await.unwrap();
    }
    let all = read_until(&mut reader, 100, |all| all.len() >= 400).await;
    assert_eq!(places(&all).iter().filter(|(_, offset)| *offset == Offset(0)).count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_until_readers_have_left_their_groups() {
    let log = fresh(config("closing")).await;
    let mut one = log.reader("closing").unwrap();
    assert_eq!(assigned(&mut one).await.len(), 4);
    drop(one);
    log.close(WITHIN).await;
    // A member that had not left would hold its partitions for the length of its session.
    let begun = Instant::now();
    let mut other = log.reader("closing").unwrap();
    assert_eq!(assigned(&mut other).await.len(), 4);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
