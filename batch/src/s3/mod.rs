//! A bucket of S3, or of a server that speaks like it, as the place of the lake.
//!
//! Everything rests on writes that create an object or leave it alone (`If-None-Match: *`): publications, plans, and the
//! commits of tables. [`bucket`] makes them say the truth when an answer was lost, [`probe`] finds out at start whether the
//! server keeps its word, [`refusal`] puts what a server answers into words, [`lifecycle`] has old objects moved and
//! leftovers removed.

mod bucket;
mod lifecycle;
mod presign;
mod probe;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::error::BatchError;
pub(crate) use bucket::Bucket;
pub use lifecycle::{ColdClass, RuleState, Ruled, RulesPlan};
pub use presign::Presigner;
pub(crate) use probe::{check_creation, check_reading};
pub(crate) use refusal::reason;

/// Makes the bucket's rules, or tells how they stand.
pub use lifecycle::provision as provision_rules;

/// The scheme of a bucket's URL.
pub(crate) const SCHEME: &str = "s3";

/// A request that failed is sent again within this time, whatever it is.
const RETRY_WITHIN: Duration = Duration::from_secs(60);
const RETRIES: usize = 6;

/// How a bucket is reached.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub url: Url,
    /// Where the server is; AWS where there is none.
    pub endpoint: Option<String>,
    /// The bucket's region; that of the environment, or `us-east-1`, where there is none.
    pub region: Option<String>,
    /// What to sign with; what the environment or the machine grants where there is none.
    pub keys: Option<S3Keys>,
    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,
    /// Whether the bucket is part of the host's name, not of the path.
    pub virtual_hosted: bool,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A pair of keys.
#[derive(Clone)]
pub struct S3Keys {
    /// The one that is sent.
    pub access: String,
    /// The one that is kept.
    pub secret: String,
}

impl std::fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:(hidden)", self.access)
    }
}

impl S3Config {
    fn bucket(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// What the names of all objects of the lake begin with: nothing, or something that ends in `/`.
    fn prefix(&self) -> String {
        let path = self.url.path().trim_matches('/');
        if path.is_empty() { String::new() } else { format!("{path}/") }
    }

    /// The endpoint of the settings, or else of the environment.
    fn reached_at(&self) -> Option<String> {
        self.builder().get_config_value(&AmazonS3ConfigKey::Endpoint)
    }

    /// The server's name for people.
    fn server(&self) -> String {
        self.reached_at().unwrap_or_else(|| "AWS S3".to_owned())
    }

    fn check(&self) -> Result<(), BatchError> {
        let wrong = |what: String| Err(BatchError::Refused(what));
        if self.url.scheme() != SCHEME || self.bucket().is_empty() || self.url.query().is_some() {
            return wrong(format!("lake.url is {}; write s3://bucket or s3://bucket/prefix, or a folder", self.url));
        }
        if self.url.path().contains('%') {
            return wrong(format!(
                "lake.url is {}; a prefix has letters, digits, '-', '_', '.' and '/' alone",
                self.url
            ));
        }
        match self.reached_at().as_deref().map(Url::parse) {
            None => Ok(()),
            Some(Ok(endpoint)) if endpoint.scheme() == "https" => Ok(()),
            Some(Ok(endpoint)) if endpoint.scheme() == "http" && self.allow_http => Ok(()),
            Some(Ok(endpoint)) if endpoint.scheme() == "http" => wrong(format!(
                "lake.endpoint is {endpoint}, which is not encrypted; use https, or allow it with lake.allow_http=true"
            )),
            Some(_) => wrong(format!("lake.endpoint is {}; write https://host or https://host:port", self.server())),
        }
    }

    /// What the environment says, and over it what is set here. Retries are of whatever may pass by itself: refusals of
    /// overload, errors of the server, connections that end.
    fn builder(&self) -> AmazonS3Builder {
        let options = ClientOptions::new().with_allow_http(self.allow_http).with_timeout(self.timeout);
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(self.bucket())
            .with_virtual_hosted_style_request(self.virtual_hosted)
            .with_client_options(options)
            .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN })
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(keys) = &self.keys {
            builder = builder.with_access_key_id(&keys.access).with_secret_access_key(&keys.secret);
        }
        builder
    }

    fn client(&self) -> Result<AmazonS3, BatchError> {
        self.check()?;
        self.builder().build().map_err(|error| BatchError::Refused(format!("{}: {error}", self.url)))
    }

    /// The whole bucket as a store.
    pub(crate) fn open(&self) -> Result<Bucket, BatchError> {
        Ok(Bucket::new(self.client()?, Arc::new(self.clone())))
    }
}

#[cfg(test)]
pub(crate) mod tests;
