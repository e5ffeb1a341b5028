//! The speed layer over a real Kafka and a real Redis, while everything that can break breaks: in the end every total,
//! cell, top list and sketch equals a plain count in memory.

mod bad_input;
mod oracle;
mod page;
pub(crate) mod stage;

use std::time::{Duration, Instant};

use linktide_common::clock::Clock;
use linktide_servers::{Kafka, Proxy, Redis, RedisCluster};
use serde_json::Value;
use stage::{Stage, connect, shared_broker};

#[tokio::test(flavor = "multi_thread")]
async fn worker_killed_between_any_two_steps_changes_no_count() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "killed", 1).await;
    let deaths = [
        "speed::begin::before_shard=100*off->return",
        "speed::flush::before_shard=return",
        "speed::flush::before_shard=300*off->return",
        "speed::flush::behind_shard=return",
        "speed::flush::behind_shard=100*off->return",
        "speed::flush::behind_shard=255*off->return",
        "speed::flush::before_commit=return",
        "speed::flush::behind_commit=2*off->return",
    ];
    for death in deaths {
        stage.send(400).await;
        let worker = stage.worker(&redis.url(), death);
        stage.send(400).await;
        worker.dies(death).await;
    }
    let _last = stage.worker(&redis.url(), "");
    let client = connect(&redis.url()).await;
    stage.assert_counted(&client, &[redis.url()], "kill -9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_partitions_and_a_zombie_change_no_count() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "moving", 2).await;
    let one = stage.worker(&redis.url(), "");
    stage.send(2_000).await;
    let other = stage.worker(&redis.url(), "");
    let client = connect(&redis.url()).await;
    for _ in 0..20 {
        stage.send(200).await;
    }
    // It sleeps until the group has given its partitions away, with a fold in its hands, and wakes as a zombie.
    one.pause();
    stage.send(1_000).await;
    let asleep = Instant::now();
    while asleep.elapsed() < Duration::from_secs(9) {
        stage.send(100).await;
    }
    one.resume();
    stage.send(2_000).await;
    other.end();
    stage.send(500).await;
    let _third = stage.worker(&redis.url(), "");
    one.kill();
    stage.send(500).await;
    stage.assert_counted(&client, &[redis.url()], "moving partitions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_set_back_emptied_and_cut_off_changes_no_count() {
    let mut redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let through = format!("redis://{}", proxy.address());
    let mut stage = Stage::new(&shared_broker(), "setback", 3).await;
    let _workers = [stage.worker(&through, ""), stage.worker(&through, "")];
    stage.send(3_000).await;
    let snapshot = redis.snapshot();
    for bytes in [10, 700, 5_000, 40_000] {
        stage.send(1_000).await;
        proxy.cut_after(bytes);
    }
    stage.send(1_000).await;
    redis.set_back(&snapshot);
    stage.send(1_000).await;
    assert_eq!(redis.cli(&["flushall"]).trim(), "OK");
    stage.send(1_000).await;
    proxy.cut();
    redis.stop();
    stage.send(1_000).await;
    redis.run();
    let client = connect(&redis.url()).await;
    stage.assert_counted(&client, &[redis.url()], "redis set back, emptied, cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_master_of_a_cluster_changes_no_count() {
    let mut cluster = RedisCluster::start();
    let mut stage = Stage::new(&shared_broker(), "cluster", 4).await;
    let _workers = [stage.worker(&cluster.url(), ""), stage.worker(&cluster.url(), "")];
    stage.send(3_000).await;
    cluster.lose_a_master();
    stage.send(3_000).await;
    let masters = cluster.masters();
    // This client's own way to write several nodes.
    let hosts: Vec<&str> = masters.iter().filter_map(|url| url.split_once("://")).map(|(_, host)| host).collect();
    let client = connect(&format!("redis-cluster://{}?node={}", hosts[0], hosts[1..].join("&node="))).await;
    stage.assert_counted(&client, &masters, "a master lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_replica_changes_no_count() {
    let mut master = Redis::start();
    let replica = Redis::start();
    assert_eq!(replica.cli(&["replicaof", "127.0.0.1", &master.port().to_string()]).trim(), "OK");
    let mut stage = Stage::new(&shared_broker(), "replica", 5).await;
    let both = format!("redis://127.0.0.1:{},127.0.0.1:{}", master.port(), replica.port());
    let _worker = stage.worker(&both, "");
    stage.send(3_000).await;
    master.stop();
    stage.send(1_000).await;
    assert_eq!(replica.cli(&["replicaof", "no", "one"]).trim(), "OK");
    stage.send(1_000).await;
    let client = connect(&replica.url()).await;
    stage.assert_counted(&client, &[replica.url()], "a replica promoted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_kafka_and_a_new_partition_change_no_count() {
    let (mut kafka, redis) = (Kafka::start(), Redis::start());
    let mut stage = Stage::new(&kafka.address(), "stopped", 6).await;
    let _workers = [stage.worker(&redis.url(), ""), stage.worker(&redis.url(), "")];
    stage.send(3_000).await;
    kafka.stop();
    // An outage, not a wait: three times as long as a worker is patient with a question.
    tokio::time::sleep(Duration::from_secs(30)).await;
    kafka.run();
    stage.send(1_000).await;
    stage.add_partition(11).await;
    stage.send(2_000).await;
    let newest = stage.publications.latest().await.unwrap().unwrap();
    let partitions = stage.log.partitions().await.unwrap();
    let unnamed = newest.unnamed(stage.epoch(), &partitions);
    assert_eq!(unnamed.len(), 1);
    stage.publications.publish(newest.extended(stage.epoch(), &unnamed, Clock::system().now())).await.unwrap();
    stage.send(1_000).await;
    let client = connect(&redis.url()).await;
    stage.assert_counted(&client, &[redis.url()], "kafka stopped, a partition added").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_say_what_an_emptied_view_lacks_until_it_is_whole() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "asked", 8).await;
    let worker = stage.worker(&redis.url(), "");
    let api = stage.api(&redis.url());
    stage.send(3_000).await;
    let client = connect(&redis.url()).await;
    stage.until_counted(&client).await;
    let all = "/v1/account/summary?traffic=all&interval=all";
    let counted = |answer: &Value| {
        let results = &answer["results"];
        results["clicks"].as_u64().unwrap() + results["previews"].as_u64().unwrap()
    };
    let answer = api.get(all).await;
    assert_eq!(counted(&answer), stage.sent_of_tenant(), "{answer}");
    assert_eq!(answer["meta"]["freshness"]["layers"]["speed"]["state"], "ok", "{answer}");

    worker.end();
    assert_eq!(redis.cli(&["flushall"]).trim(), "OK");
    let answer = api.get(all).await;
    let freshness = &answer["meta"]["freshness"];
    assert_eq!((counted(&answer), &freshness["layers"]["speed"]["state"]), (0, &Value::from("rebuilding")), "{answer}");
    assert_eq!(freshness["as_of"], freshness["complete_through"], "nothing received since is promised: {answer}");
    let reason = freshness["reasons"][0].as_str().unwrap();
    assert!(reason.contains("has not begun 10 of 10 partitions"), "{answer}");

    let mut rebuild = stage.program("speed", &redis.url());
    rebuild.arg("rebuild");
    assert!(Stage::output(rebuild).0);
    let answer = api.get(all).await;
    assert_eq!(counted(&answer), stage.sent_of_tenant(), "{answer}");
    assert_eq!(answer["meta"]["freshness"]["layers"]["speed"]["state"], "ok", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_links_have_the_repeats_of_a_plain_count() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "repeats", 13).await;
    let _worker = stage.worker(&redis.url(), "");
    let api = stage.api(&redis.url());
    stage.send(6_000).await;
    let client = connect(&redis.url()).await;
    stage.until_counted(&client).await;
    let expected = stage.people_of_tenant();
    assert!(expected.values().any(|(clicks, unique)| unique < clicks), "nobody came twice");
    let asked = || -> u64 {
        let told = redis.cli(&["info", "stats"]);
        let told = told.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        told.unwrap().trim().parse().unwrap()
    };
    for limit in [1, 10, 1000] {
        let before = asked();
        let answer = api.get(&format!("/v1/links?interval=all&limit={limit}")).await;
        let commands = asked() - before;
        eprintln!("measured: a list of up to {limit} links took {commands} commands of Redis, the worker's among them");
        for link in answer["results"]["links"].as_array().unwrap() {
            let (clicks, unique) = expected[link["link_id"].as_str().unwrap()];
            assert_eq!((&link["clicks"], &link["unique_clicks"]), (&clicks.into(), &unique.into()), "{link}");
        }
        let listed = answer["results"]["links"].as_array().unwrap().len();
        assert_eq!(listed, expected.len().min(limit), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_view_is_the_same_view() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "rebuilt", 7).await;
    let _worker = stage.worker(&redis.url(), "");
    stage.send(5_000).await;
    // A key that something else has taken is in the way of counts, and goes like those that hold some.
    let totals = || redis.cli(&["--scan", "--pattern", "*:totals:*"]);
    Stage::until("something is counted", async || !totals().is_empty()).await;
    assert_eq!(redis.cli(&["set", totals().lines().next().unwrap(), "taken"]).trim(), "OK");
    let mut rebuild = stage.program("speed", &redis.url());
    rebuild.arg("rebuild");
    let (content, told) = Stage::output(rebuild);
    assert!(content && told.contains("emptying the view") && told.contains("the view is whole again"), "{told}");
    stage.send(1_000).await;
    let client = connect(&redis.url()).await;
    stage.assert_counted(&client, &[redis.url()], "rebuilt").await;
}
