//! Brokers that go away, and records that do.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn reader_and_writer_go_on_when_the_broker_comes_back() {
    let mut broker = Kafka::start();
    let log = fresh(config_at(&broker.address(), "restarted")).await;
    log.append((0..200).map(click).collect()).await.unwrap();
    let mut reader = log.reader("restarted").unwrap();
    for partition in assigned(&mut reader).await {
        reader.seek(partition, Offset(0)).await.unwrap();
    }
    let mut read = read_until(&mut reader, 50, |all| all.len() >= 100).await;
    broker.stop();
    let waiting = Arc::clone(&log);
    let appended = tokio::spawn(async move { waiting.append((200..300).map(click).collect()).await });
    assert!(reader.bounds(PartitionId(0)).await.is_err(), "a question is answered or fails, and does not hang");
    broker.run();
    // It goes through, or says that it did not and is appended once more: records are never taken for lost.
    if let Err(error) = appended.await.unwrap() {
        assert!(matches!(&error, LogError::Unavailable(text) if text.contains(&broker.address())), "{error}");
        log.append((200..300).map(click).collect()).await.unwrap();
    }
    let deadline = Instant::now() + WITHIN;
    let numbers = |read: &[Record]| {
        let mut payloads: Vec<_> = read.iter().filter_map(|record| record.payload.clone()).collect();
        payloads.sort();
        payloads.dedup();
        payloads.len()
    };
    while numbers(&read) < 300 {
        assert!(Instant::now() < deadline, "{} of 300 clicks", numbers(&read));
        match reader.poll(100, SOON).await.unwrap() {
            Event::Records(records) => read.extend(records),
            // The group may have been lost with the broker: its partitions come anew.
            Event::Assigned(partitions) => {
                for partition in partitions {
                    let next =
                        read.iter().filter(|record| record.partition == partition).map(|read| read.offset.next());
                    reader.seek(partition, next.max().unwrap_or_default()).await.unwrap();
                }
            }
            Event::Revoked(_) => {}
        }
    }
    let all = places(&read);
    let mut once = all.clone();
    once.dedup();
    assert_eq!(all, once, "no place is delivered twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_retention_overtakes_is_told_below_low_once_and_others_go_on() {
    let mut config = config("overtaken");
    // Little is fetched ahead, so that what is deleted was not there to be delivered all the same.
    for (name, value) in
        [("queued.min.messages", "1"), ("queued.max.messages.kbytes", "1"), ("fetch.message.max.bytes", "500")]
    {
        config.settings.insert(name.to_owned(), value.to_owned());
    }
    let log = fresh(config.clone()).await;
    for part in 0..60 {
        log.append((part * 20..(part + 1) * 20).map(click).collect()).await.unwrap();
    }
    let mut reader = log.reader("overtaken").unwrap();
    let partitions = assigned(&mut reader).await;
    for partition in &partitions {
        reader.seek(*partition, Offset(0)).await.unwrap();
    }
    let (overtaken, low) = (partitions[0], Offset(reader.bounds(partitions[0]).await.unwrap().high.0 - 5));
    trim(&config, overtaken, low).await;
    let (mut read, mut told, deadline) = (Vec::new(), None, Instant::now() + WITHIN);
    while told.is_none() || places(&read).len() < 1200 - usize::try_from(low.0).unwrap() {
        assert!(Instant::now() < deadline, "{} records, told {told:?}", read.len());
        match reader.poll(100, SOON).await {
            Ok(Event::Records(records)) => {
                read.extend(records.into_iter().filter(|record| record.partition != overtaken || record.offset >= low));
            }
            Ok(other) => panic!("{other:?}"),
            Err(LogError::BelowLow { partition, low: now, .. }) => {
                assert_eq!((partition, now), (overtaken, low));
                assert_eq!(told.replace(now), None, "it is told once");
                // Its caller goes on where the log still is.
                reader.seek(overtaken, low).await.unwrap();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(reader.read(overtaken, Offset(0), low.next()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_that_is_made_anew_under_a_reader_is_told_above_high() {
    let config = config("anew");
    let log = fresh(config.clone()).await;
    log.append((0..400).map(click).collect()).await.unwrap();
    let mut reader = log.reader("anew").unwrap();
    let partitions = assigned(&mut reader).await;
    for partition in &partitions {
        reader.seek(*partition, Offset(0)).await.unwrap();
    }
    read_until(&mut reader, 100, |all| all.len() >= 400).await;
    for deleted in admin(&config).delete_topics(&["anew"], &options()).await.unwrap() {
        deleted.unwrap();
    }
    make(&config, 4, &[("message.timestamp.type", "LogAppendTime")]).await;
    let deadline = Instant::now() + WITHIN;
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 4 {
        assert!(Instant::now() < deadline, "only {told:?} were told");
        match reader.poll(100, SOON).await {
            Err(LogError::AboveHigh { partition, high, .. }) => {
                assert_eq!(high, Offset(0));
                assert!(told.insert(partition), "{partition} was told twice");
            }
            // The group notices, too.
            Ok(Event::Revoked(partitions)) => told.extend(partitions),
            Ok(Event::Assigned(partitions)) => {
                for partition in partitions {
                    let error = reader.seek(partition, Offset(50)).await.unwrap_err();
                    assert!(matches!(error, LogError::AboveHigh { .. }), "{error}");
                    told.insert(partition);
                }
            }
            Ok(Event::Records(records)) => assert_eq!(records, []),
            Err(other) => assert!(matches!(other, LogError::Unavailable(_)), "{other}"),
        }
    }
}
