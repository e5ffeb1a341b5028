//! Answers of a few known clicks, as JSON.

use insta::assert_json_snapshot;
use linktide_common::click::Kind;
use linktide_common::enrich::{EnrichedClick, SaltedHash};
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::publication::{Publication, Tombstone};
use serde_json::json;

use super::stage::{Fault, Stage, W, click, first, minute, publish, stage};

/// Two people, a bot and a preview on link 7, a bot on link 8; one of the clicks is of the day before.
pub(super) async fn clicked() -> Stage {
    let stage = stage().await;
    let mut bot = click(7, minute(2), minute(2));
    bot.bot = Some("ua:isbot".into());
    let mut preview = click(7, minute(3), minute(3));
    preview.kind = Kind::Preview;
    let mut other = click(8, minute(4), minute(4));
    other.bot = Some("ua:isbot".into());
    let late = click(7, minute(5), minute(-24 * 60));
    stage.count(&[click(7, minute(1), minute(1)), bot, preview, other, late]).await;
    stage
}

fn hashed(visitor: u64) -> SaltedHash {
    SaltedHash((u128::from(visitor).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 64).to_be_bytes())
}

#[tokio::test]
async fn summary_counts_people_and_names_the_rest() {
    let stage = clicked().await;
    assert_json_snapshot!(stage.get("/v1/links/7/summary?interval=7d").await, @r#"
    {
      "meta": {
        "freshness": {
          "as_of": "2026-11-24T10:09:58Z",
          "complete_through": "2026-11-24T10:00:00Z",
          "gaps": [],
          "lag_seconds": 2,
          "layers": {
            "batch": {
              "age_seconds": 600,
              "publication": 0,
              "published_at": "2026-11-24T10:00:00Z",
              "state": "ok"
            },
            "speed": {
              "as_of": "2026-11-24T10:09:58Z",
              "held_from": "2026-11-24T10:00:00Z",
              "state": "ok"
            }
          },
          "reasons": [],
          "stale": false
        },
        "range": {
          "end": "2026-11-24T10:15:00Z",
          "start": "2026-11-18T00:00:00Z",
          "timezone": "UTC"
        }
      },
      "query": {
        "interval": "7d",
        "link_id": "7",
        "timezone": "UTC",
        "traffic": "human"
      },
      "results": {
        "bots": 1,
        "clicks": 2,
        "first_click": "2026-11-23T10:00:00Z",
        "label": {
          "destination": null,
          "slug": "s7",
          "title": null
        },
        "last_click": "2026-11-24T10:02:00Z",
        "previews": 1,
        "unique_clicks": 2,
        "uniques": {
          "estimate": 1,
          "identity": "ip",
          "method": "exact",
          "range": {
            "end": "2026-11-24T11:00:00Z",
            "start": "2026-11-18T00:00:00Z",
            "timezone": "UTC"
          },
          "salt_window": "1 UTC day",
          "standard_error": 0.0
        }
      }
    }
    "#);
}

#[tokio::test]
async fn visitors_are_estimated_where_they_are_many_or_a_day_is_cut_or_left_out() {
    let stage = stage().await;
    let of = |link, visitor: u64, at| EnrichedClick { visitor: Some(hashed(visitor)), ..click(link, minute(1), at) };
    let many: Vec<EnrichedClick> = (0..100_000).map(|visitor| of(7, visitor, minute(1))).collect();
    let few: Vec<EnrichedClick> =
        (0..100).map(|visitor| of(8, visitor, minute(-60 * i64::from(visitor < 40)))).collect();
    stage.count(&many).await;
    stage.count(&few).await;
    let asked = async |link: u64, when: &str| {
        let uniques = stage.get(&format!("/v1/links/{link}/summary?{when}")).await["results"]["uniques"].clone();
        (uniques["method"].as_str().unwrap().to_owned(), uniques["estimate"].as_f64().unwrap())
    };
    let (method, estimate) = asked(7, "interval=7d").await;
    assert!(method == "hll" && (estimate - 100_000.0).abs() < 3_000.0, "{method} {estimate}");
    assert_eq!(asked(8, "interval=7d").await, ("exact".to_owned(), 100.0));
    let (method, estimate) = asked(8, "start=2026-11-24T10:00&end=2026-11-24T12:00").await;
    assert!(method == "hll" && (estimate - 60.0).abs() < 4.0, "{method} {estimate}: the day is cut");
    assert_eq!(
        asked(8, "start=2026-11-24T09:30&end=2026-11-24T10:15").await,
        ("exact".to_owned(), 100.0),
        "whole hours"
    );
    let comparison =
        stage.get("/v1/links/8/summary?interval=7d&compare=previous").await["results"]["comparison"].clone();
    assert_eq!(comparison["uniques"], 0);
    // A layer that does not answer may know of more.
    stage.meets(Fault::Away);
    assert_eq!(asked(8, "interval=7d").await.0, "hll");
}

#[tokio::test]
async fn timeseries_has_no_holes() {
    let stage = clicked().await;
    let place = "/v1/links/7/timeseries?start=2026-11-23&end=2026-11-24&timezone=Asia/Kolkata&traffic=all";
    assert_json_snapshot!(stage.get(place).await["results"], @r#"
    [
      {
        "bots": 0,
        "clicks": 1,
        "end": "2026-11-24T00:00:00+05:30",
        "layers": [
          "batch",
          "speed"
        ],
        "partial": false,
        "previews": 0,
        "start": "2026-11-23T00:00:00+05:30",
        "unique_clicks": null
      },
      {
        "bots": 1,
        "clicks": 2,
        "end": "2026-11-25T00:00:00+05:30",
        "layers": [
          "batch",
          "speed"
        ],
        "partial": true,
        "previews": 1,
        "start": "2026-11-24T00:00:00+05:30",
        "unique_clicks": null
      }
    ]
    "#);
}

#[tokio::test]
async fn breakdown_lists_the_most_frequent_and_sums_the_rest() {
    let stage = clicked().await;
    let place = "/v1/account/breakdown?by=language,bot_reason&traffic=all&limit=1&interval=7d";
    let answer = stage.get(place).await;
    assert_json_snapshot!(answer["results"], @r#"
    [
      {
        "dimension": "language",
        "total": 4,
        "values": [
          {
            "clicks": 4,
            "share": 1.0,
            "value": "en"
          }
        ]
      },
      {
        "dimension": "bot_reason",
        "total": 4,
        "values": [
          {
            "clicks": 2,
            "share": 0.5,
            "value": "(none)"
          },
          {
            "clicks": 2,
            "share": 0.5,
            "value": "(other)"
          }
        ]
      }
    ]
    "#);
    assert_json_snapshot!(answer["query"], @r#"
    {
      "by": [
        "language",
        "bot_reason"
      ],
      "interval": "7d",
      "limit": 1,
      "timezone": "UTC",
      "traffic": "all"
    }
    "#);
}

#[tokio::test]
async fn top_links_come_with_their_labels() {
    let stage = clicked().await;
    assert_json_snapshot!(stage.get("/v1/links?traffic=all&limit=1").await["results"], @r#"
    {
      "count": 2,
      "links": [
        {
          "clicks": 3,
          "label": {
            "destination": null,
            "slug": "s7",
            "title": null
          },
          "link_id": "7",
          "unique_clicks": null
        }
      ],
      "next": "3-7-1992192-1995017",
      "other": 1,
      "total": 4
    }
    "#);
}

#[tokio::test]
async fn listed_links_come_without_repeats_or_say_that_it_is_not_known() {
    let stage = stage().await;
    let at = |link, seconds: i64| click(link, minute(1), minute(1).plus_millis(seconds * 1000));
    stage.count(&[at(7, 0), at(7, 10), at(7, 100), at(8, 0)]).await;
    let listed = async |more: &str| {
        let links = stage.get(&format!("/v1/links?{more}")).await["results"]["links"].clone();
        let counts = |link: &serde_json::Value| (link["clicks"].as_u64(), link["unique_clicks"].as_u64());
        links.as_array().unwrap().iter().map(counts).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [(Some(3), Some(2)), (Some(1), Some(1))]);
    // The click before it is out of the range: it is a repeat all the same.
    stage.count(&[at(7, 835), at(7, 845)]).await;
    assert_eq!(listed("start=2026-11-24T10:15:00Z&end=2026-11-24T10:30:00Z").await, [(Some(1), Some(0))]);
    assert_eq!(listed("traffic=all&limit=1").await, [(Some(4), None)]);
    // What is told link by link may fail where the list does not.
    for fault in [Fault::Away, Fault::Hangs] {
        stage.meets(Fault::Then(Box::new(fault)));
        let answer = stage.get("/v1/links").await;
        stage.meets(Fault::None);
        let told = |link: &serde_json::Value| (link["clicks"].clone(), link["unique_clicks"].clone());
        let told: Vec<_> = answer["results"]["links"].as_array().unwrap().iter().map(told).collect();
        assert_eq!(told, [(json!(4), json!(null)), (json!(1), json!(null))]);
        let reasons = &answer["meta"]["freshness"]["reasons"];
        assert!(reasons[0].as_str().unwrap().contains("`unique_clicks` may be null"), "{reasons}");
    }
    assert_eq!(listed("").await, [(Some(4), Some(3)), (Some(1), Some(1))]);
}

#[tokio::test]
async fn nobody_learns_of_links_by_trying_ids() {
    let stage = clicked().await;
    let mut stranger = click(9, minute(1), minute(1));
    stranger.tenant_id = TenantId(5);
    stage.count(&[stranger]).await;
    let (of_other, of_none) = (stage.get("/v1/links/9/summary").await, stage.get("/v1/links/10/summary").await);
    assert_eq!((&of_other["results"], &of_other["meta"]), (&of_none["results"], &of_none["meta"]));
    assert_eq!(of_none["results"]["clicks"], 0);
    assert_eq!(stage.get("/v1/links?traffic=all").await["results"]["total"], 4);
}

#[tokio::test]
async fn value_that_is_called_other_is_counted_once() {
    let stage = stage().await;
    let mut named = click(7, minute(1), minute(1));
    named.utm.source = Some("(other)".into());
    stage.count(&[named, click(7, minute(2), minute(2))]).await;
    let answer = stage.get("/v1/links/7/breakdown?by=utm_source").await;
    let values = answer["results"][0]["values"].as_array().unwrap();
    let listed: Vec<_> = values.iter().map(|value| (value["value"].as_str(), value["clicks"].as_u64())).collect();
    assert_eq!(listed, [(Some("(none)"), Some(1)), (Some("(other)"), Some(1))]);
}

#[tokio::test]
async fn all_begins_with_the_first_thing_counted_of_the_subject() {
    let stage = clicked().await;
    let start = |answer: &serde_json::Value| answer["meta"]["range"]["start"].as_str().unwrap().to_owned();
    let all = stage.get("/v1/links/7/summary?interval=all&traffic=all").await;
    assert_eq!((all["results"]["clicks"].as_u64(), start(&all)), (Some(3), "2026-11-23T10:00:00Z".to_owned()));
    // A link that was only previewed begins with the preview.
    let mut preview = click(11, minute(6), minute(-600));
    preview.kind = Kind::Preview;
    stage.count(&[preview]).await;
    let all = stage.get("/v1/links/11/summary?interval=all").await;
    assert_eq!((all["results"]["previews"].as_u64(), start(&all)), (Some(1), "2026-11-24T00:00:00Z".to_owned()));
}

#[tokio::test]
async fn metrics_name_routes_and_never_ids() {
    let stage = clicked().await;
    stage.get("/v1/links/123456789/summary").await;
    let shown = stage.get("/metrics").await.as_str().unwrap().to_owned();
    let counted = r#"linktide_query_request_seconds_count{route="/v1/links/{link_id}/summary",status="200"}"#;
    assert!(shown.contains(counted), "{shown}");
    assert!(!shown.contains("123456789"));
}

#[tokio::test]
async fn erased_link_is_not_answered_from_an_old_cell() {
    let stage = clicked().await;
    let people = |answer: &serde_json::Value| answer["results"]["clicks"].clone();
    assert_eq!(people(&stage.get("/v1/links/7/summary?interval=7d").await), 2);
    let subject = Subject::Link(TenantId(0), LinkId(7));
    let tombstones = vec![Tombstone::new(subject, W.next(), 0)];
    publish(&stage.lake, Publication { number: 1, tombstones, ..first() }).await;
    let summary = stage.get("/v1/links/7/summary?interval=7d&traffic=all").await;
    assert_eq!(people(&summary), 0, "{summary}");
    let listed = stage.get("/v1/links?traffic=all").await.to_string();
    assert!(listed.contains("\"link_id\":\"8\"") && !listed.contains("\"link_id\":\"7\""), "{listed}");
    // What comes in behind the erasure counts.
    stage.count(&[click(7, minute(60), minute(9))]).await;
    assert_eq!(people(&stage.get("/v1/links/7/summary?interval=7d").await), 1);
    let listed = stage.get("/v1/links").await.to_string();
    assert!(listed.contains("\"link_id\":\"7\""), "{listed}");
}
