//! The built-in lists of user agents.
//!
//! The `isbot` list finds most. The tables behind it name what it misses, by kind; each token was held against 165,000
//! user agents of browsers and found in none of them.

use std::sync::LazyLock;

use isbot::Bots;

static LIST: LazyLock<Bots> = LazyLock::new(Bots::default);

/// Parts of the lower-cased user agent, by the reason they give.
const TOKENS: &[(&str, &[&str])] = &[
    (
        "preview",
        &[
            "whatsapp/",
            "telegrambot",
            "slackbot",
            "slack-imgproxy",
            "discordbot",
            "skypeuripreview",
            "microsoftpreview",
            "facebookexternalhit",
            "facebookcatalog",
            "meta-externalagent",
            "meta-externalfetcher",
            "linkedinbot",
            "embedly",
            "iframely",
            "cardyb",
            "mastodon/",
            "pleroma",
            "misskey",
            "irssiurllog",
        ],
    ),
    (
        "ai",
        &[
            "gptbot",
            "chatgpt-user",
            "oai-searchbot",
            "claudebot",
            "claude-user",
            "claude-searchbot",
            "anthropic-ai",
            "perplexitybot",
            "perplexity-user",
            "mistralai-user",
            "cohere-ai",
            "google-extended",
            "google-cloudvertexbot",
            "duckassistbot",
            "bytespider",
            "diffbot",
        ],
    ),
    (
        "library",
        &[
            "okhttp",
            "libwww-perl",
            "libfetch",
            "libcurl",
            "httpx",
            "httpie",
            "aiohttp",
            "axios",
            "undici",
            "node-fetch",
            "go-http-client",
            "python-requests",
            "urllib",
            "dart:io",
            "guzzlehttp",
            "restsharp",
            "http.rb",
            "typhoeus",
            "faraday",
            "httpclient",
            "java-http-client",
            "reqwest",
            "indy library",
            "wget",
            "winhttp",
            "powershell",
            "postman",
            "insomnia/",
            "akka-http",
            "reactornetty",
            "portscout",
            "office protocol discovery",
        ],
    ),
    ("automation", &["headless", "phantomjs", "puppeteer", "playwright", "selenium", "webdriver", "slimerjs"]),
    ("monitor", &["uptime", "pingdom", "statuscake", "site24x7", "nagios", "check_http", "zabbix", "synthetics"]),
    ("feed", &["feedburner", "feedparser", "feedfetcher", "feed fetcher", "feedly", "feedbin", "tiny tiny rss"]),
];

/// User agents that say nothing a browser would leave out, lower case.
const BARE: &[&str] =
    &["mozilla", "mozilla/4.0", "mozilla/4.0 (compatible;)", "mozilla/5.0", "ruby", "java", "python", "php", "perl"];

/// The names of these lists: the reason is `ua:` and the name.
pub(super) const REASONS: &[&str] =
    &["isbot", "empty", "bare", "preview", "ai", "library", "automation", "monitor", "feed"];

/// The list that names a user agent; none for a person's. A sender that names no user agent is a program.
pub(super) fn reason(user_agent: Option<&str>) -> Option<&'static str> {
    let Some(text) = user_agent.map(str::trim).filter(|text| !text.is_empty()) else { return Some("empty") };
    if LIST.is_bot(text) {
        return Some("isbot");
    }
    let lower = text.to_ascii_lowercase();
    if BARE.contains(&lower.as_str()) {
        return Some("bare");
    }
    let named = |tokens: &[&str]| tokens.iter().any(|token| lower.contains(token));
    TOKENS.iter().find(|(_, tokens)| named(tokens)).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_with_their_reason() {
        for (text, list) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "isbot"),
            ("curl/8.5.0", "isbot"),
            ("python-requests/2.32.3", "isbot"),
            ("Tiny Tiny RSS/1.11 (http://tt-rss.org/)", "isbot"),
            ("FeedBurner/1.0 (http://www.FeedBurner.com)", "isbot"),
            ("WhatsApp/2.23.20.0", "preview"),
            ("fetch libfetch/2.0", "library"),
            ("Mozilla/5.0", "bare"),
            ("Ruby", "bare"),
            (" ", "empty"),
        ] {
            assert_eq!(reason(Some(text)), Some(list), "{text}");
        }
        assert_eq!(reason(None), Some("empty"));
        assert!(TOKENS.iter().all(|(list, _)| REASONS.contains(list)));
    }

    #[test]
    fn programs_of_every_kind_are_bots() {
        for text in [
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.6367.60 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "TelegramBot (like TwitterBot)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/124.0.0.0 Safari/537.36",
            "okhttp/4.12.0",
            "Go-http-client/2.0",
            "Wget/1.21.4",
            "Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)",
            "UptimeRobot/2.0",
        ] {
            assert!(reason(Some(text)).is_some(), "{text}");
        }
    }

    #[test]
    fn people_are_not_bots() {
        for text in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.210 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 4.4.2; VERSSED vp2.1 Build/KVT49L) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/30.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.11; rv:46.0) Gecko/20100101 Firefox/46.0 FirePHP/0.7.4",
            "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/34.1244; U; en) Presto/2.8.119 Version/11.10",
            "Lynx/2.8.7rel.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.0.1f",
        ] {
            assert_eq!(reason(Some(text)), None, "{text}");
        }
    }
}
