//! The ledger of imports: whatever crashes in between, nothing is appended twice and nothing is lost.

use std::collections::HashMap;

use super::*;

fn clicks(config: &KafkaConfig) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for seen in dump(config, &config.topic) {
        *counts.entry(seen.key.unwrap()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_that_was_begun_and_not_done_is_completed_and_not_repeated() {
    let log = fresh(config("crashed")).await;
    let chunk = || (0..100).map(click).collect::<Vec<_>>();
    log.append((1000..1200).map(click).collect()).await.unwrap();
    // The first process ends between the steps: it has begun, and appended a part.
    let all = log.ledger.begin(&log.producer, "import/a/0", chunk()).await.unwrap().unwrap();
    assert_eq!(all.len(), 100);
    log.append(all.into_iter().take(37).collect()).await.unwrap();
    // Others write in between.
    log.append((2000..2200).map(click).collect()).await.unwrap();
    let config = log.config.clone();
    drop(log);
    let next = KafkaLog::open(config.clone()).await.unwrap();
    assert_eq!(next.append_marked("import/a/0", chunk()).await.unwrap(), Marked::Appended);
    assert_eq!(next.append_marked("import/a/0", chunk()).await.unwrap(), Marked::Already);
    let counts = clicks(&config);
    assert_eq!(counts.len(), 500);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    // A process that comes later learns it from the topic alone.
    let later = KafkaLog::open(config).await.unwrap();
    assert_eq!(later.append_marked("import/a/0", chunk()).await.unwrap(), Marked::Already);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_that_was_appended_and_not_told_done_is_only_told() {
    let log = fresh(config("untold")).await;
    let chunk = || (0..50).map(click).collect::<Vec<_>>();
    let all = log.ledger.begin(&log.producer, "m", chunk()).await.unwrap().unwrap();
    log.append(all).await.unwrap();
    assert_eq!(log.append_marked("m", chunk()).await.unwrap(), Marked::Appended);
    assert!(clicks(&log.config).values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_whose_beginning_the_log_no_longer_has_is_refused_by_name() {
    let log = fresh(config("expired")).await;
    log.ledger.begin(&log.producer, "m", vec![click(1)]).await.unwrap();
    log.append((0..100).map(click).collect()).await.unwrap();
    trim(&log.config, PartitionId(2), Offset(3)).await;
    let text = why(log.append_marked("m", vec![click(1)]).await);
    assert!(text.contains("partition 2") && text.contains("a file of its own"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_import_the_same_at_once_leave_copies_close_by_at_most() {
    let log = fresh(config("twice")).await;
    let other = KafkaLog::open(log.config.clone()).await.unwrap();
    let chunk = || (0..200).map(click).collect::<Vec<_>>();
    let (one, two) = tokio::join!(log.append_marked("m", chunk()), other.append_marked("m", chunk()));
    assert!(matches!((one.unwrap(), two.unwrap()), (Marked::Appended, _) | (_, Marked::Appended)));
    let counts = clicks(&log.config);
    assert_eq!(counts.len(), 200);
    assert!(counts.values().all(|count| *count <= 2), "{counts:?}");
    assert_eq!(log.append_marked("m", chunk()).await.unwrap(), Marked::Already);
}
