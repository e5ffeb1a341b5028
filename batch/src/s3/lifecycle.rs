//! Rules of the bucket: what becomes of objects by their age, without anybody doing it.
//!
//! A bucket has one list of rules, which is written as a whole. So it is read, those of ours that are missing are added, and
//! all others go back as they came. Nothing is changed where one of ours differs, or where another's would delete or move
//! what queries read: a table's log must stay where it is, for ever.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, ResponseChecksumValidation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, Transition, TransitionStorageClass,
};
use object_store::aws::AmazonS3ConfigKey;
use serde::{Deserialize, Serialize};

use super::S3Config;
use super::refusal::{answered, at_start, in_words};
use crate::error::BatchError;
use crate::tables::click_event;

/// Parts of uploads that nobody completed, and objects of the check at start that nobody removed.
const LEFTOVERS_DAYS: i32 = 7;
/// As the store has it.
const DEFAULT_REGION: &str = "us-east-1";

/// What the rules are to say.
#[derive(Debug, Clone)]
pub struct RulesPlan {
    /// Raw clicks go to the cold class after so many days.
    pub cold_after_days: i32,
    /// Which one.
    pub cold_class: ColdClass,
    /// In a bucket that keeps old versions of objects, they go after so many days.
    pub old_versions_days: i32,
}

/// A class of storage whose objects are read at once, without being asked for hours before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColdClass {
    /// The cheapest.
    GlacierInstantRetrieval,
    /// For what is read every month or so.
    StandardInfrequentAccess,
    /// The same, in one zone alone.
    OneZoneInfrequentAccess,
    /// Moves by itself.
    IntelligentTiering,
}

impl ColdClass {
    const ALL: [Self; 4] = [
        Self::GlacierInstantRetrieval,
        Self::StandardInfrequentAccess,
        Self::OneZoneInfrequentAccess,
        Self::IntelligentTiering,
    ];

    /// Its name in S3.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GlacierInstantRetrieval => "GLACIER_IR",
            Self::StandardInfrequentAccess => "STANDARD_IA",
            Self::OneZoneInfrequentAccess => "ONEZONE_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
        }
    }
}

impl From<ColdClass> for String {
    fn from(class: ColdClass) -> Self {
        class.name().to_owned()
    }
}

impl TryFrom<String> for ColdClass {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if let Some(class) = Self::ALL.into_iter().find(|class| class.name() == name) {
            return Ok(class);
        }
        let names = Self::ALL.map(Self::name).join(", ");
        Err(match &*name {
            "GLACIER" | "DEEP_ARCHIVE" => {
                format!(
                    "queries cannot read what is in {name}: it has to be restored for hours first; take one of {names}"
                )
            }
            _ => format!("`{name}` is no class of cold storage; take one of {names}"),
        })
    }
}

/// A rule, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// Its name in the bucket.
    pub rule: String,
    /// How it stands.
    pub state: RuleState,
}

/// How a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleState {
    /// It was missing, and was made.
    Created,
    /// It is as wanted.
    Right,
    /// It is not there.
    Missing,
    /// It is another's or says something else, and was left alone.
    Wrong(String),
}

/// Makes the rules that are missing, unless one stands in the way, and tells of each how it stands. With `dry_run` it only
/// tells.
///
/// # Errors
/// [`BatchError::Refused`] where the bucket is missing, refuses us, or its server knows no such rules;
/// [`BatchError::Unavailable`] where it does not answer.
pub async fn provision(config: &S3Config, plan: &RulesPlan, dry_run: bool) -> Result<Vec<Ruled>, BatchError> {
    let client = client(config).await?;
    let found = read(config, &client).await?;
    let wanted = wanted(config, plan);
    let mut all = judge(found.rules(), &wanted, &config.prefix());
    if dry_run || all.iter().any(|ruled| matches!(ruled.state, RuleState::Wrong(_))) {
        return Ok(all);
    }
    let missing =
        |rule: &&LifecycleRule| all.iter().any(|ruled| named(rule, &ruled.rule) && ruled.state == RuleState::Missing);
    let added: Vec<LifecycleRule> = wanted.iter().filter(missing).cloned().collect();
    if !added.is_empty() {
        let rules = found.rules().iter().cloned().chain(added).collect();
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
        client
            .put_bucket_lifecycle_configuration()
            .bucket(config.bucket())
            .lifecycle_configuration(rules.map_err(|error| BatchError::Refused(error.to_string()))?)
            // Else it would fall back to the default.
            .set_transition_default_minimum_object_size(found.transition_default_minimum_object_size)
            .send()
            .await
            .map_err(|error| failed(config, error))?;
    }
    for ruled in all.iter_mut().filter(|ruled| ruled.state == RuleState::Missing) {
        ruled.state = RuleState::Created;
    }
    Ok(all)
}

/// A client that reaches the same server as the store, and signs with the same keys.
pub(super) async fn client(config: &S3Config) -> Result<Client, BatchError> {
    let keys = config.client()?.credentials().get_credential().await;
    let keys = keys.map_err(|error| at_start(&in_words(config, error)))?;
    let store = config.builder();
    let set = |key| store.get_config_value(&key);
    let region = set(AmazonS3ConfigKey::Region).or_else(|| set(AmazonS3ConfigKey::DefaultRegion));
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.unwrap_or_else(|| DEFAULT_REGION.to_owned())))
        .credentials_provider(Credentials::new(&keys.key_id, &keys.secret_key, keys.token.clone(), None, "linktide"))
        // Else whoever opens a signed address would have to send what the check asks for.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(!config.virtual_hosted);
    if let Some(endpoint) = config.reached_at() {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(builder.build()))
}

async fn read(config: &S3Config, client: &Client) -> Result<GetBucketLifecycleConfigurationOutput, BatchError> {
    match client.get_bucket_lifecycle_configuration().bucket(config.bucket()).send().await {
        Ok(found) => Ok(found),
        Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => {
            Ok(GetBucketLifecycleConfigurationOutput::builder().build())
        }
        Err(error) => Err(failed(config, error)),
    }
}

fn failed<E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static>(
    config: &S3Config,
    error: SdkError<E>,
) -> BatchError {
    if error.code() == Some("NotImplemented") {
        return BatchError::Refused(format!(
            "{} knows no lifecycle rules (NotImplemented): raw clicks stay in one class there, and leftovers are removed by its own means",
            config.server()
        ));
    }
    answered(config, error.code(), &DisplayErrorContext(&error).to_string())
}

fn wanted(config: &S3Config, plan: &RulesPlan) -> Vec<LifecycleRule> {
    let lake = config.prefix();
    let below = |place: &str| LifecycleRuleFilter::builder().prefix(format!("{lake}{place}")).build();
    // Several lakes may lie in one bucket.
    let name = |id: &str| format!("linktide-{id} {}", lake.trim_end_matches('/')).trim_end().to_owned();
    let rule = |id: &str, place: &str| {
        LifecycleRule::builder().id(name(id)).status(ExpirationStatus::Enabled).filter(below(place))
    };
    let cold = Transition::builder()
        .days(plan.cold_after_days)
        .storage_class(TransitionStorageClass::from(plan.cold_class.name()))
        .build();
    let raw = format!("tables/{}/received_date=", click_event::NAME);
    let leftovers = LifecycleExpiration::builder().days(LEFTOVERS_DAYS).build();
    let uploads = AbortIncompleteMultipartUpload::builder().days_after_initiation(LEFTOVERS_DAYS).build();
    let versions = NoncurrentVersionExpiration::builder().noncurrent_days(plan.old_versions_days).build();
    let rules = [
        rule("cold", &raw).transitions(cold),
        rule("uploads", "").abort_incomplete_multipart_upload(uploads),
        rule("old-versions", "").noncurrent_version_expiration(versions),
        rule("probes", "probe/").expiration(leftovers),
    ];
    rules.map(|rule| rule.build().expect("it has a status")).into()
}

/// How each wanted rule stands among those that are there, and which of those would harm what lies below `prefix`.
fn judge(found: &[LifecycleRule], wanted: &[LifecycleRule], prefix: &str) -> Vec<Ruled> {
    let mut all: Vec<Ruled> = Vec::new();
    for rule in wanted {
        let id = rule.id().unwrap_or_default();
        let state = match found.iter().find(|found| named(found, id)) {
            None => RuleState::Missing,
            Some(found) if described(found) == described(rule) => RuleState::Right,
            Some(found) => RuleState::Wrong(format!("is {}, wanted {}", described(found), described(rule))),
        };
        all.push(Ruled { rule: id.to_owned(), state });
    }
    for rule in found.iter().filter(|found| !wanted.iter().any(|rule| named(rule, found.id().unwrap_or_default()))) {
        let (place, touches) = (place(rule), rule.expiration().is_some() || !rule.transitions().is_empty());
        let meets = place.starts_with(prefix) || prefix.starts_with(place);
        if touches && meets && *rule.status() == ExpirationStatus::Enabled {
            all.push(Ruled {
                rule: rule.id().unwrap_or("(a rule without a name)").to_owned(),
                state: RuleState::Wrong(format!(
                    "is {}, which takes what the tables need; narrow it to what is not below {prefix}",
                    described(rule)
                )),
            });
        }
    }
    all
}

fn named(rule: &LifecycleRule, id: &str) -> bool {
    rule.id() == Some(id)
}

/// The beginning of the names that a rule is about; nothing for all of them.
fn place(rule: &LifecycleRule) -> &str {
    #[expect(deprecated, reason = "old rules say it there")]
    let old = rule.prefix();
    let filter = rule.filter();
    let both = filter.and_then(|filter| filter.and()).and_then(|and| and.prefix());
    filter.and_then(|filter| filter.prefix()).or(both).or(old).unwrap_or_default()
}

/// What a rule does, in the words of a line.
fn described(rule: &LifecycleRule) -> String {
    let mut does: Vec<String> = Vec::new();
    for transition in rule.transitions() {
        let class = transition.storage_class().map_or("another class", TransitionStorageClass::as_str);
        does.push(format!("to {class} after {} days", transition.days().unwrap_or_default()));
    }
    if let Some(expiration) = rule.expiration() {
        does.push(format!("deleted after {} days", expiration.days().unwrap_or_default()));
    }
    if let Some(days) = rule.noncurrent_version_expiration().and_then(NoncurrentVersionExpiration::noncurrent_days) {
        does.push(format!("old versions deleted after {days} days"));
    }
    let uploads = rule.abort_incomplete_multipart_upload();
    if let Some(days) = uploads.and_then(AbortIncompleteMultipartUpload::days_after_initiation) {
        does.push(format!("uploads aborted after {days} days"));
    }
    let off = if *rule.status() == ExpirationStatus::Enabled { "" } else { " (off)" };
    format!("`{}` {}{off}", place(rule), does.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: RulesPlan =
        RulesPlan { cold_after_days: 90, cold_class: ColdClass::GlacierInstantRetrieval, old_versions_days: 30 };

    fn ours() -> Vec<LifecycleRule> {
        wanted(&super::super::tests::config("https://host"), &PLAN)
    }

    fn foreign(prefix: &str, status: ExpirationStatus) -> LifecycleRule {
        let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
        let expiration = LifecycleExpiration::builder().days(30).build();
        LifecycleRule::builder().id("theirs").status(status).filter(filter).expiration(expiration).build().unwrap()
    }

    #[test]
    fn raw_clicks_alone_move_and_no_log_is_ever_touched() {
        for rule in ours() {
            let touches = rule.expiration().is_some() || !rule.transitions().is_empty();
            assert!(!touches || !"some/where/tables/link/_delta_log/0.json".starts_with(place(&rule)), "{rule:?}");
            assert!(
                !touches || !"some/where/tables/click_event/_delta_log/0.json".starts_with(place(&rule)),
                "{rule:?}"
            );
        }
        assert_eq!(described(&ours()[0]), "`some/where/tables/click_event/received_date=` to GLACIER_IR after 90 days");
    }

    #[test]
    fn rule_of_another_that_takes_what_tables_need_stands_in_the_way() {
        let harmful = ["", "some/", "some/where/tables/link/"];
        let harmless = ["other/", "some/whereabouts/"];
        for (prefixes, wrong) in [(&harmful[..], true), (&harmless[..], false)] {
            for prefix in prefixes {
                let all = judge(&[foreign(prefix, ExpirationStatus::Enabled)], &ours(), "some/where/");
                let stands = all.iter().any(|ruled| matches!(&ruled.state, RuleState::Wrong(_)));
                assert_eq!(stands, wrong, "{prefix}: {all:?}");
            }
        }
        let all = judge(&[foreign("", ExpirationStatus::Disabled)], &ours(), "some/where/");
        assert!(all.iter().all(|ruled| ruled.state == RuleState::Missing), "{all:?}");
    }

    #[test]
    fn class_that_cannot_be_read_at_once_is_refused() {
        for class in ColdClass::ALL {
            assert_eq!(ColdClass::try_from(class.name().to_owned()), Ok(class));
        }
        for name in ["GLACIER", "DEEP_ARCHIVE"] {
            let told = ColdClass::try_from(name.to_owned()).unwrap_err();
            assert!(told.contains("queries cannot read") && told.contains("GLACIER_IR"), "{told}");
        }
        assert!(ColdClass::try_from("COLD".to_owned()).unwrap_err().contains("`COLD`"));
    }
}
