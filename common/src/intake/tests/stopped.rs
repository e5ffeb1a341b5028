//! A partition that cannot be read on is stopped, told and kept in sight; the others go on.

use super::*;
use crate::log::partition_of;

const OTHER: PartitionId = PartitionId(1);

impl Setup {
    /// Appends a click to a partition of two.
    async fn append_to(&self, partition: PartitionId, number: u128) {
        let mut keys = (number * 1000..).map(|key| ClickId(Uuid::from_u128(key)));
        let key = keys.find(|key| partition_of(*key, 2) == partition).unwrap();
        self.log.append(vec![Append { key, payload: Bytes::from(click(key.0.as_u128())) }]).await.unwrap();
    }

    /// An intake with both partitions started.
    async fn both(&self, layer: &'static str, from: [u64; 2]) -> Intake {
        let reader = Box::new(self.log.reader());
        let mut intake = Intake::new(layer, reader, Arc::clone(&self.enricher), self.clock.clone(), 10);
        let assigned = intake.next(1, SOON).await.unwrap().assigned;
        for (partition, offset) in assigned.into_iter().zip(from) {
            let position = Position { offset: Offset(offset), received_at: Hour(480_000).start() };
            assert_eq!(intake.start(partition, position).await.unwrap(), None);
        }
        intake
    }
}

fn gauge(layer: &str, reason: &str) -> i64 {
    metrics::PARTITIONS_STOPPED.with_label_values(&[layer, "0", reason]).get()
}

fn offsets(intake: &Intake) -> [Offset; 2] {
    [ALL, OTHER].map(|partition| intake.positions()[&partition].offset)
}

#[tokio::test]
async fn partition_whose_clock_runs_ahead_is_stopped_where_it_stands() {
    let setup = Setup::with(2);
    setup.append_to(ALL, 1).await;
    setup.clock.set(Hour(480_002).start());
    setup.append_to(ALL, 2).await;
    setup.clock.set(Hour(480_000).start());
    setup.append_to(OTHER, 3).await;
    let mut intake = setup.both("ahead", [0, 0]).await;
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click", "click"]);
    setup.append_to(OTHER, 4).await;
    setup.append_to(ALL, 5).await;
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click"]);
    assert_eq!(offsets(&intake), [Offset(1), Offset(2)]);
    assert_eq!(gauge("ahead", CLOCK_AHEAD), 1);
    // Time goes on, and the stopped partition lies ever further behind.
    for hours in 1..3 {
        setup.clock.set(Hour(480_000 + hours).start());
        let lag = intake.lag().await.unwrap()[&ALL];
        assert_eq!((lag.records(), lag.seconds), (2, u64::try_from(hours).unwrap() * 3600));
    }
    // Once the clock is right, it goes on where it was started anew.
    let position = intake.positions()[&ALL];
    intake.start(ALL, position).await.unwrap();
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click", "click"]);
    assert_eq!(gauge("ahead", CLOCK_AHEAD), 0);
}

#[tokio::test]
async fn position_of_another_log_stops_its_partition_alone() {
    let setup = Setup::with(2);
    setup.append_to(ALL, 1).await;
    setup.append_to(OTHER, 2).await;
    let mut intake = setup.both("recreated", [40, 0]).await;
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click"]);
    assert_eq!(offsets(&intake), [Offset(40), Offset(1)]);
    assert_eq!(gauge("recreated", ABOVE_HIGH), 1);
    setup.clock.set(Hour(480_001).start());
    assert_eq!(intake.lag().await.unwrap()[&ALL].seconds, 3600);
    // No tick is appended to it, and it is another's when it is.
    intake.next(10, SOON).await.unwrap();
    assert_eq!(setup.log.reader().bounds(ALL).await.unwrap().high, Offset(1));
    intake.stop(ALL);
    assert_eq!(gauge("recreated", ABOVE_HIGH), 0);
}

#[tokio::test]
async fn what_is_deleted_under_a_reader_is_a_gap_when_it_is_started_anew() {
    let setup = Setup::with(2);
    let mut intake = setup.both("overtaken", [0, 0]).await;
    for number in 1..5 {
        setup.append_to(ALL, number).await;
    }
    setup.append_to(OTHER, 9).await;
    setup.log.trim(ALL, Offset(2)).await.unwrap();
    let batch = intake.next(10, SOON).await.unwrap();
    assert_eq!((batch.revoked, batch.assigned), (vec![ALL], vec![ALL]));
    let gap = intake.start(ALL, Position { offset: Offset(0), received_at: Hour(480_000).start() }).await.unwrap();
    assert_eq!(gap, Some(Gap { partition: ALL, from: Offset(0), to: Offset(2) }));
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click", "click", "click"]);
}
