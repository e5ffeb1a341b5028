//! User agents of people and machines, in the shapes that browsers of these years send.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// What a generated user agent runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// A telephone, which can read a QR code.
    Phone,
    /// Anything else.
    Other,
}

impl Family {
    /// The family of a string that [`person`] made.
    #[must_use]
    pub(super) fn of(user_agent: &str) -> Self {
        if user_agent.contains("iPhone") || user_agent.contains("Mobile Safari") { Self::Phone } else { Self::Other }
    }
}

/// Programs that follow links.
pub(super) const MACHINES: &[&str] = &[
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "WhatsApp/2.23.20.0",
    "curl/8.5.0",
    "python-requests/2.32.3",
];

const PHONES: &[&str] = &["Pixel 9", "SM-S928B", "SM-A556B", "M2102J20SG", "CPH2581", "moto g84 5G"];

/// The user agent of some person's browser.
pub(super) fn person(random: &mut StdRng) -> String {
    let (major, build, patch) =
        (random.random_range(128..144), random.random_range(6600..7200), random.random_range(20..220));
    let chrome = format!("Chrome/{major}.0.{build}.{patch}");
    match random.random_range(0..100) {
        0..26 => {
            let (os, safari) = (random.random_range(16..19), random.random_range(16..19));
            format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {os}_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{safari}.{} Mobile/15E148 Safari/604.1",
                patch % 7,
                patch % 5
            )
        }
        26..54 => {
            let phone = PHONES[random.random_range(0..PHONES.len())];
            format!(
                "Mozilla/5.0 (Linux; Android {}; {phone}) AppleWebKit/537.36 (KHTML, like Gecko) {chrome} Mobile Safari/537.36",
                random.random_range(11..16)
            )
        }
        54..74 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) {chrome} Safari/537.36"
        ),
        74..80 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) {chrome} Safari/537.36 Edg/{major}.0.{build}.{patch}"
        ),
        80..86 => format!(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.{} Safari/605.1.15",
            random.random_range(16..19),
            patch % 6
        ),
        86..92 => format!("Mozilla/5.0 (X11; Linux x86_64; rv:{major}.0) Gecko/20100101 Firefox/{major}.{}", patch % 4),
        92..96 => format!(
            "Mozilla/5.0 (iPad; CPU OS {}_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{} Mobile/15E148 Safari/604.1",
            random.random_range(16..19),
            patch % 6,
            patch % 4
        ),
        _ => format!(
            "Mozilla/5.0 (Linux; Android {}; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) {chrome} Safari/537.36",
            random.random_range(12..15)
        ),
    }
}
