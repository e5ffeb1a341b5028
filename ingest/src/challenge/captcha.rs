//! A provider of CAPTCHAs, by the protocol that Turnstile, hCaptcha and reCAPTCHA share: the page loads the provider's
//! script, which puts a response into the form; the server asks the provider's `siteverify` with its secret whether the
//! response is good. The visitor's address, which the protocol lets one add, is not sent.

use std::time::Duration;

use linktide_common::secret::Secret;
use serde::Deserialize;
use url::form_urlencoded;

/// How long the provider may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
    /// Google reCAPTCHA, version 2.
    Recaptcha,
}

/// What a provider's documentation says.
struct About {
    script: &'static str,
    verify: &'static str,
    class: &'static str,
    field: &'static str,
    /// Where its parts come from, for the page's policy.
    sources: &'static str,
}

impl Provider {
    fn about(self) -> About {
        match self {
            Self::Turnstile => About {
                script: "https://challenges.cloudflare.com/turnstile/v0/api.js",
                verify: "https://challenges.cloudflare.com/turnstile/v0/siteverify",
                class: "cf-turnstile",
                field: "cf-turnstile-response",
                sources: "https://challenges.cloudflare.com",
            },
            Self::Hcaptcha => About {
                script: "https://js.hcaptcha.com/1/api.js",
                verify: "https://api.hcaptcha.com/siteverify",
                class: "h-captcha",
                field: "h-captcha-response",
                sources: "https://hcaptcha.com https://*.hcaptcha.com",
            },
            Self::Recaptcha => About {
                script: "https://www.google.com/recaptcha/api.js",
                verify: "https://www.google.com/recaptcha/api/siteverify",
                class: "g-recaptcha",
                field: "g-recaptcha-response",
                sources: "https://www.google.com/recaptcha/ https://www.gstatic.com/recaptcha/",
            },
        }
    }
}

/// How a provider is used.
#[derive(Debug, Clone)]
pub struct CaptchaConfig {
    /// Which one.
    pub provider: Provider,
    /// The public key of the site.
    pub site_key: String,
    /// The secret of the site.
    pub secret: Secret,
    /// Where responses are verified, where that is not the provider's own place.
    pub verify_url: Option<String>,
    /// Where the script is, where that is not the provider's own place.
    pub script_url: Option<String>,
}

/// Asks the provider.
pub(super) struct Captcha {
    config: CaptchaConfig,
    about: About,
    client: reqwest::Client,
}

/// What the provider says; fields of its own beside these are passed over.
#[derive(Deserialize)]
struct Said {
    success: bool,
    #[serde(rename = "error-codes", default)]
    error_codes: Vec<String>,
}

/// Errors that are ours and not the visitor's.
const OURS: [&str; 5] =
    ["missing-input-secret", "invalid-input-secret", "sitekey-secret-mismatch", "bad-request", "internal-error"];

impl Captcha {
    pub(super) fn new(config: CaptchaConfig) -> Self {
        Self { about: config.provider.about(), config, client: reqwest::Client::new() }
    }

    /// Whether a response is good; an error where the provider cannot be asked, or does not know us.
    pub(super) async fn verify(&self, response: &str) -> Result<bool, String> {
        let secret = String::from_utf8_lossy(self.config.secret.expose());
        let form = [("secret", &*secret), ("response", response), ("sitekey", &self.config.site_key)];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let place = self.config.verify_url.as_deref().unwrap_or(self.about.verify);
        let asked = self
            .client
            .post(place)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .timeout(PATIENCE)
            .send();
        let said = async { asked.await?.error_for_status()?.json::<Said>().await }.await;
        let said = said.map_err(|error| error.without_url().to_string())?;
        match said.error_codes.iter().find(|code| OURS.contains(&code.as_str())) {
            Some(code) if !said.success => Err(code.clone()),
            _ => Ok(said.success),
        }
    }

    /// The field of the form that has the response.
    pub(super) fn field(&self) -> &'static str {
        self.about.field
    }

    /// What the page shows.
    pub(super) fn widget(&self) -> Widget<'_> {
        let script = self.config.script_url.as_deref().unwrap_or(self.about.script);
        Widget { script, class: self.about.class, site_key: &self.config.site_key, sources: self.about.sources }
    }
}

/// A provider's part of the page.
pub(super) struct Widget<'a> {
    pub(super) script: &'a str,
    pub(super) class: &'static str,
    pub(super) site_key: &'a str,
    pub(super) sources: &'static str,
}
