//! A real server, and what may come between: answers that are lost, refusals, other hands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltalake::kernel::Transaction;
use linktide_servers::{Gateway, Moto, Request, S3, Treatment};
use object_store::path::Path;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};

use super::{Bucket, ColdClass, RuleState, RulesPlan, S3Config, S3Keys, provision_rules};
use crate::error::BatchError;
use crate::table::Rows;
use crate::tables::{Access, Lake, click_event};

const BUCKET: &str = "clicks";

pub(crate) fn config(endpoint: &str) -> S3Config {
    S3Config {
        url: format!("s3://{BUCKET}/some/where").parse().unwrap(),
        endpoint: Some(endpoint.to_owned()),
        region: None,
        keys: Some(S3Keys { access: S3::ACCESS_KEY.to_owned(), secret: S3::SECRET_KEY.to_owned() }),
        allow_http: true,
        virtual_hosted: false,
        timeout: Duration::from_secs(5),
    }
}

/// Treats so many requests that create something, then none.
fn the_first(count: usize, treatment: Treatment) -> impl Fn(&Request) -> Treatment + Send + Sync {
    let seen = AtomicUsize::new(0);
    move |request| {
        let treated = request.method == "PUT" && seen.fetch_add(1, Ordering::AcqRel) < count;
        if treated { treatment } else { Treatment::Pass }
    }
}

async fn create(bucket: &Bucket, place: &str, content: &str) -> object_store::Result<()> {
    let options = PutOptions::from(PutMode::Create);
    bucket.put_opts(&Path::from(place), content.to_owned().into(), options).await.map(|_| ())
}

async fn content(bucket: &Bucket, place: &str) -> Vec<u8> {
    bucket.get(&Path::from(place)).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn creation_whose_answer_was_lost_is_known_as_our_own() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    let bucket = config(&gateway.url()).open().unwrap();
    let lost = [Treatment::Lose, Treatment::Deny(500), Treatment::Deny(503), Treatment::Delay(Duration::from_secs(7))];
    for (number, treatment) in lost.into_iter().enumerate() {
        let place = format!("a/{number}");
        gateway.treat(the_first(1, treatment));
        create(&bucket, &place, "ours").await.unwrap();
        assert_eq!((gateway.treated(), content(&bucket, &place).await), (number + 1, b"ours".to_vec()));
    }
}

#[tokio::test]
async fn what_another_created_stays_whatever_became_of_the_answer() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    let bucket = config(&gateway.url()).open().unwrap();
    create(&bucket, "a", "theirs").await.unwrap();
    for treatment in [Treatment::Pass, Treatment::Lose, Treatment::Deny(500)] {
        gateway.treat(the_first(1, treatment));
        let error = create(&bucket, "a", "ours").await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        assert_eq!(content(&bucket, "a").await, b"theirs");
    }
}

#[tokio::test]
async fn refusal_as_existing_of_what_is_not_there_is_asked_again() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    let bucket = config(&gateway.url()).open().unwrap();
    gateway.treat(the_first(2, Treatment::Refuse(409)));
    create(&bucket, "a", "ours").await.unwrap();
    assert_eq!((gateway.treated(), content(&bucket, "a").await), (2, b"ours".to_vec()));
}

#[tokio::test]
async fn large_object_is_there_as_a_whole_though_parts_are_refused() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    let bucket = config(&gateway.url()).open().unwrap();
    let whole: Vec<u8> = (0..20_000_000_u32).map(|at| at.to_le_bytes()[usize::from(at % 3 == 0)]).collect();
    gateway.treat(the_first(2, Treatment::Deny(503)));
    bucket.put(&Path::from("large"), whole.clone().into()).await.unwrap();
    assert_eq!(gateway.treated(), 2);
    assert!(content(&bucket, "large").await == whole, "it is another");
}

/// What the check at start says of a bucket.
async fn refusal(config: &S3Config, access: Access) -> BatchError {
    Lake::in_bucket(config).unwrap().check(access).await.unwrap_err()
}

#[tokio::test]
async fn sound_server_is_taken_and_the_check_leaves_nothing() {
    let s3 = S3::start(BUCKET);
    let lake = Lake::in_bucket(&config(&s3.url())).unwrap();
    lake.check(Access::Write).await.unwrap();
    let bucket = config(&s3.url()).open().unwrap();
    let left = bucket.list_with_delimiter(Some(&Path::from("some/where/probe"))).await.unwrap();
    assert_eq!(left.objects, []);
}

#[tokio::test]
async fn server_that_lets_several_create_the_same_object_is_refused() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    gateway.treat(|request| if request.creates { Treatment::Flatter } else { Treatment::Pass });
    let error = refusal(&config(&gateway.url()), Access::Write).await;
    let told = error.to_string();
    assert!(matches!(error, BatchError::Refused(_)), "{told}");
    assert!(told.contains("16 of 16 writers") && told.contains("versitygw") && told.contains("docs/s3.md"), "{told}");
}

#[tokio::test]
async fn bucket_that_cannot_be_used_is_named_with_the_way_out() {
    let mut s3 = S3::start(BUCKET);
    let right = config(&s3.url());
    let elsewhere = S3Config { url: "s3://nowhere".parse().unwrap(), ..right.clone() };
    let keys = |access: &str, secret: &str| S3Config {
        keys: Some(S3Keys { access: access.to_owned(), secret: secret.to_owned() }),
        ..right.clone()
    };
    for (config, words) in [
        (elsewhere, ["there is no bucket nowhere", "make it, or correct lake.url"]),
        (keys("stranger", S3::SECRET_KEY), ["does not take these credentials", "lake.access_key"]),
        (keys(S3::ACCESS_KEY, "hush"), ["does not take these credentials", "lake.secret_key"]),
    ] {
        let error = refusal(&config, Access::Read).await;
        let told = error.to_string();
        assert!(matches!(error, BatchError::Refused(_)), "{told}");
        assert!(words.iter().all(|words| told.contains(words)) && !told.contains("hush"), "{told}");
    }
    s3.set_read_only(true);
    Lake::in_bucket(&right).unwrap().check(Access::Read).await.unwrap();
    let told = refusal(&right, Access::Write).await.to_string();
    assert!(told.contains("denies this") && told.contains(BUCKET) && told.contains("docs/s3.md"), "{told}");
    s3.stop();
    let error = refusal(&right, Access::Read).await;
    assert!(matches!(error, BatchError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains(&s3.url()), "{error}");
}

#[tokio::test]
async fn full_bucket_is_told_as_full() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    gateway.treat(|request| if request.method == "PUT" { Treatment::Refuse(507) } else { Treatment::Pass });
    let told = refusal(&config(&gateway.url()), Access::Write).await.to_string();
    assert!(told.contains("is full (InsufficientStorage)") && told.contains("free space"), "{told}");
}

#[test]
fn settings_that_cannot_be_right_are_refused_before_anything_is_asked() {
    let right = config("https://host:9000");
    right.open().unwrap();
    let plain = S3Config { allow_http: false, ..config("http://host:9000") };
    let told = plain.open().unwrap_err().to_string();
    assert!(told.contains("not encrypted") && told.contains("lake.allow_http=true"), "{told}");
    let told = config("host:9000").open().unwrap_err().to_string();
    assert!(told.contains("write https://host"), "{told}");
    for url in ["s3://", "gs://bucket/x", "s3://bucket/a?b=c", "s3://bucket/a%20b"] {
        let told = S3Config { url: url.parse().unwrap(), ..right.clone() }.open().unwrap_err().to_string();
        assert!(told.contains("lake.url is"), "{url}: {told}");
    }
}

#[tokio::test]
async fn commit_that_the_server_denies_is_told_as_denied_and_one_that_came_second_as_fenced() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    let lake = Lake::in_bucket(&config(&gateway.url())).unwrap();
    let mut first = lake.table(click_event::definition()).await.unwrap();
    let mut second = lake.table(click_event::definition()).await.unwrap();
    let said = || vec![Transaction::new("test", 1)];
    gateway.treat(|request| if request.method == "PUT" { Treatment::Refuse(403) } else { Treatment::Pass });
    let error = first.commit(Vec::new(), &[], Rows::Changed, said()).await.unwrap_err();
    assert!(matches!(error, BatchError::Unavailable(_)) && error.to_string().contains("denies this"), "{error}");
    gateway.treat(|_| Treatment::Pass);
    first.commit(Vec::new(), &[], Rows::Changed, said()).await.unwrap();
    let error = second.commit(Vec::new(), &[], Rows::Changed, said()).await.unwrap_err();
    assert!(matches!(error, BatchError::Fenced { .. }), "{error}");
}

const RULES: RulesPlan =
    RulesPlan { cold_after_days: 90, cold_class: ColdClass::GlacierInstantRetrieval, old_versions_days: 30 };

async fn states(config: &S3Config, plan: &RulesPlan, dry_run: bool) -> Vec<RuleState> {
    provision_rules(config, plan, dry_run).await.unwrap().into_iter().map(|ruled| ruled.state).collect()
}

#[tokio::test]
async fn rules_are_made_once_and_what_differs_is_told_and_left_alone() {
    let moto = Moto::start(BUCKET);
    let config = config(&moto.url());
    assert_eq!(states(&config, &RULES, true).await, vec![RuleState::Missing; 4]);
    assert_eq!(states(&config, &RULES, false).await, vec![RuleState::Created; 4]);
    assert_eq!(states(&config, &RULES, false).await, vec![RuleState::Right; 4]);
    let other = RulesPlan { cold_after_days: 30, ..RULES };
    let told = states(&config, &other, false).await;
    let RuleState::Wrong(what) = &told[0] else { panic!("{told:?}") };
    assert!(what.contains("after 90 days, wanted") && what.contains("after 30 days"), "{what}");
    assert_eq!(states(&config, &RULES, true).await, vec![RuleState::Right; 4]);
    let beside = S3Config { url: format!("s3://{BUCKET}/another").parse().unwrap(), ..config.clone() };
    assert_eq!(states(&beside, &RULES, false).await, vec![RuleState::Created; 4]);
    assert_eq!(states(&config, &RULES, true).await, vec![RuleState::Right; 4]);
    let elsewhere = S3Config { url: "s3://nowhere".parse().unwrap(), ..config };
    let error = provision_rules(&elsewhere, &RULES, true).await.unwrap_err();
    assert!(error.to_string().contains("there is no bucket nowhere"), "{error}");
}

#[tokio::test]
async fn server_without_rules_says_so() {
    let s3 = S3::start(BUCKET);
    let error = provision_rules(&config(&s3.url()), &RULES, false).await.unwrap_err();
    assert!(matches!(error, BatchError::Refused(_)), "{error}");
    assert!(error.to_string().contains("knows no lifecycle rules"), "{error}");
}
