//! The view against real servers: one alone, and a cluster.

use linktide_servers::{Redis, RedisCluster};

use super::*;
use crate::view::conformance;

fn view(url: String, limits: Limits) -> RedisView {
    RedisView::new(&RedisConfig { url, user: None, password: None, limits }).unwrap()
}

#[tokio::test]
async fn it_does_what_every_view_must_on_one_server() {
    let redis = Redis::start();
    conformance::check(&view(redis.url(), conformance::LIMITS)).await;
}

#[tokio::test]
async fn it_does_what_every_view_must_on_a_cluster() {
    let cluster = RedisCluster::start();
    conformance::check(&view(cluster.url(), conformance::LIMITS)).await;
}
