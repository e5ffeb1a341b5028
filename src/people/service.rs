//! A running Linktide, as its API shows it.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::StatusCode;
use serde_json::Value;

use crate::client;
use crate::import::DEFAULT_URL;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which Linktide is asked.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Where it listens
    #[arg(long, default_value = DEFAULT_URL, env = "LINKTIDE_URL")]
    url: String,
}

/// It answers, and not what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    detail: String,
}

impl Service {
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(client::http(PATIENCE)?, path).await
    }

    /// As [`Service::get`], by a client with a patience of its own.
    ///
    /// # Errors
    /// [`Refused`] where it answers, and not what was asked.
    pub(super) async fn ask(&self, client: reqwest::Client, path: &str) -> anyhow::Result<Value> {
        self.answer(client.get(self.place(path))).await
    }

    /// Where it listens.
    pub(super) fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(client::http(PATIENCE)?.post(self.place(path)).json(body)).await
    }

    fn place(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let url = &self.url;
        let response = request.send().await.with_context(|| format!("no linktide answers at {url}; is it running?"))?;
        let status = response.status();
        let answer: Value = response.json().await.with_context(|| format!("what answers at {url} is no linktide"))?;
        if !status.is_success() {
            let detail = answer["detail"].as_str().unwrap_or("it was refused without a reason").to_owned();
            return Err(Refused { status, detail }.into());
        }
        Ok(answer)
    }
}
