//! Addresses by which whoever has one reads one object for a while, without a key of the bucket.
//!
//! They are signed with the store's own keys. Where those are lent for a time, an address ends with them at the latest.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use object_store::path::Path;

use super::{S3Config, lifecycle};
use crate::error::BatchError;

/// Signs addresses of objects below the lake's prefix.
#[derive(Clone)]
pub struct Presigner {
    config: Arc<S3Config>,
}

impl Presigner {
    pub(crate) fn new(config: S3Config) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Addresses of objects, each of them saved under a name by those who open it, for so long.
    ///
    /// # Errors
    /// [`BatchError::Refused`] where there is nothing to sign with, or the time is longer than a week.
    pub async fn addresses(&self, objects: &[(Path, String)], valid_for: Duration) -> Result<Vec<String>, BatchError> {
        let refused = |why: String| BatchError::Refused(format!("an address cannot be signed: {why}"));
        let client = lifecycle::client(&self.config).await?;
        let mut addresses = Vec::with_capacity(objects.len());
        for (place, name) in objects {
            let valid = PresigningConfig::expires_in(valid_for).map_err(|error| refused(error.to_string()))?;
            let request = client
                .get_object()
                .bucket(self.config.bucket())
                .key(format!("{}{place}", self.config.prefix()))
                .response_content_disposition(format!("attachment; filename=\"{name}\""));
            let signed = request.presigned(valid).await;
            let signed = signed.map_err(|error| refused(DisplayErrorContext(&error).to_string()))?;
            addresses.push(signed.uri().to_owned());
        }
        Ok(addresses)
    }
}
