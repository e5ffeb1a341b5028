//! Topics that are unfit, brokers that refuse or do not answer: each is told with the way out. And provisioning.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn topic_that_is_missing_or_unfit_is_refused_with_the_way_out() {
    let text = why(KafkaLog::open(config("nowhere")).await);
    assert!(text.contains("nowhere") && text.contains("`linktide provision kafka`"), "{text}");

    let narrow = config("narrow");
    make(&narrow, 3, &[("message.timestamp.type", "LogAppendTime")]).await;
    let text = why(KafkaLog::open(narrow).await);
    assert!(text.contains("partitions is 3, wanted at least 4") && text.contains("docs/kafka.md"), "{text}");

    let producers_time = config("producers-time");
    make(&producers_time, 4, &[]).await;
    let text = why(KafkaLog::open(producers_time).await);
    assert!(text.contains("message.timestamp.type is CreateTime, wanted LogAppendTime"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_with_its_producers_time_is_refused_though_the_topic_was_fit() {
    let config = config("turned");
    let log = fresh(config.clone()).await;
    log.append((0..40).map(click).collect()).await.unwrap();
    let mut reader = log.reader("turned").unwrap();
    for partition in assigned(&mut reader).await {
        reader.seek(partition, Offset(0)).await.unwrap();
    }
    read_until(&mut reader, 10, |all| all.len() == 40).await;
    let turn = rdkafka::admin::AlterConfig::new(rdkafka::admin::ResourceSpecifier::Topic("turned"))
        .set("message.timestamp.type", "CreateTime");
    admin(&config).alter_configs([&turn], &options()).await.unwrap().remove(0).unwrap();
    let deadline = Instant::now() + WITHIN;
    let mut number = 100;
    let error = loop {
        assert!(Instant::now() < deadline, "records with their producers' times are delivered");
        log.append(vec![click(number)]).await.unwrap();
        number += 1;
        match reader.poll(1000, SOON).await {
            Ok(Event::Records(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("turned") && error.contains("message.timestamp.type=LogAppendTime"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_makes_what_is_missing_and_finds_it_right_the_next_time() {
    let config = config("provisioned");
    let states = |made: Vec<Provisioned>| made.into_iter().map(|made| (made.topic, made.state)).collect::<Vec<_>>();
    let all = |state: TopicState| {
        ["provisioned", "provisioned-rejected", "provisioned-imports"].map(|topic| (topic.to_owned(), state.clone()))
    };
    assert_eq!(states(KafkaLog::survey(&config, &plan()).await.unwrap()), all(TopicState::Missing));
    assert!(KafkaLog::open(config.clone()).await.is_err(), "a dry run makes nothing");
    assert_eq!(states(KafkaLog::provision(&config, &plan()).await.unwrap()), all(TopicState::Created));
    assert_eq!(states(KafkaLog::provision(&config, &plan()).await.unwrap()), all(TopicState::Right));
    let log = KafkaLog::open(config).await.unwrap();
    assert_eq!(log.partitions().await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_topic_is_told_setting_by_setting_and_nothing_is_made_or_changed() {
    let config = config("wrong");
    make(&config, 2, &[("retention.ms", "1000"), ("cleanup.policy", "compact")]).await;
    let look = async || KafkaLog::provision(&config, &plan()).await.unwrap();
    let first = look().await;
    let TopicState::Wrong(differences) = &first[0].state else { panic!("{first:?}") };
    let told: Vec<_> = differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "partitions is 2, wanted at least 4",
            "message.timestamp.type is CreateTime, wanted LogAppendTime",
            "cleanup.policy is compact, wanted delete",
            "retention.ms is 1000, wanted 86400000",
        ]
    );
    assert_eq!(first[1].state, TopicState::Missing);
    assert_eq!(look().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_copies_than_brokers_are_refused_by_the_setting_to_change() {
    let plan = TopicPlan { replication: 3, ..plan() };
    let text = why(KafkaLog::provision(&config("copies"), &plan).await);
    assert!(text.contains("3 copies") && text.contains("kafka.replication"), "{text}");
}

fn as_user(config: &KafkaConfig, user: &str, password: &str) -> KafkaConfig {
    let settings = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", user),
        ("sasl.password", password),
    ];
    KafkaConfig {
        brokers: Kafka::shared().sasl_address(),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..config.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_told_by_what_they_are_missing_for() {
    let log = fresh(config("rights")).await;
    let stranger = as_user(&log.config, Kafka::STRANGER, Kafka::PASSWORD);
    for outcome in
        [KafkaLog::open(stranger.clone()).await.map(drop), KafkaLog::provision(&stranger, &plan()).await.map(drop)]
    {
        let text = why(outcome);
        assert!(
            text.contains("authorization") && text.contains("topic rights") && text.contains("rights it takes"),
            "{text}"
        );
    }
    // Who may not belong to a group learns it when it waits for partitions.
    let mut reader = Arc::new(unchecked(&stranger)).reader("theirs").unwrap();
    let deadline = Instant::now() + WITHIN;
    let text = loop {
        assert!(Instant::now() < deadline, "a group without rights is waited for");
        match reader.poll(1, SOON).await {
            Ok(event) => assert_eq!(event, Event::Records(Vec::new())),
            Err(error) => break why::<()>(Err(error)),
        }
    };
    assert!(text.contains("authorization") && text.contains("theirs"), "{text}");
}

/// A log that was opened without a look at its topic.
fn unchecked(config: &KafkaConfig) -> KafkaLog {
    let asker = Arc::new(Asker::new(config).unwrap());
    KafkaLog {
        config: config.clone(),
        producer: Producer::new(config).unwrap(),
        ledger: Ledger::new(config.clone(), Arc::clone(&asker)),
        asker,
        threads: Mutex::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_taken_from_the_settings_and_wrong_ones_are_told() {
    let log = fresh(config("sasl")).await;
    let with_password = |password: &str| as_user(&log.config, Kafka::USER, password);
    let known = KafkaLog::open(with_password(Kafka::PASSWORD)).await.unwrap();
    known.append(vec![click(1)]).await.unwrap();
    for outcome in [
        KafkaLog::open(with_password("guess")).await.map(drop),
        KafkaLog::provision(&with_password("guess"), &plan()).await.map(drop),
    ] {
        let text = why(outcome);
        assert!(text.contains(&Kafka::shared().sasl_address()) && text.contains("sasl.password"), "{text}");
        assert!(!text.contains("guess"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_does_not_answer_is_named_and_worth_a_retry() {
    // Nobody listens on the discard port of this machine.
    let error = KafkaLog::open(config_at("127.0.0.1:9", "away")).await.map(drop).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LogError::Unavailable(_)), "{text}");
    assert!(text.contains("127.0.0.1:9") && text.contains("kafka.brokers") && text.contains("refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_setting_is_named() {
    let settings = BTreeMap::from([("linger".to_owned(), "5".to_owned())]);
    let text = why(KafkaLog::open(KafkaConfig { settings, ..config("settings") }).await);
    assert!(text.contains("linger") && text.contains("kafka.settings"), "{text}");
}
