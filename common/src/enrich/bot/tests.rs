//! The verdict as a table of clicks, and the lists as files that change.

use super::super::{EnrichConfig, Enricher, GeoFiles, Reload, Stamp, VisitorIdentity};
use super::*;
use crate::click::Click;
use crate::id::{Epoch, Offset, PartitionId};
use crate::secret::Secret;

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36";
const PHONE: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36";
const WEBVIEW: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.0.0 Mobile Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";
const DESKTOP_SITE: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36";
const CRAWLER: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const OWN: &str = "HarbourFetch 1";
const BROWSERS_HEADERS: &str =
    r#"["accept","accept-encoding","accept-language","sec-fetch-dest","sec-fetch-mode","sec-fetch-site"]"#;
const HINTS: &str = r#""sec_ch_ua":"\"Chromium\";v=\"124\", \"Google Chrome\";v=\"124\"","sec_ch_ua_mobile":"?0","sec_ch_ua_platform":"\"Windows\"""#;
const CLOUD: &str = "198.51.100.7";
const BLOCKED: &str = "203.0.113.9";
const TRUSTED: &str = "198.51.100.200";
const HOME: &str = "192.0.2.1";

struct Stage {
    folder: tempfile::TempDir,
    enricher: Enricher,
}

fn stamp() -> Stamp {
    Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at: Day(20_000).start() }
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let bots = BotConfig {
            agents: vec![AgentList {
                name: "own".into(),
                file: file("own.txt", "bot to 2024-10-04: HarbourFetch\nperson: Lighthouse-of-Harbour\n"),
                weight: Points::new(100).unwrap(),
            }],
            networks: vec![
                NetworkList {
                    name: "cloud".into(),
                    file: file("cloud.txt", "198.51.100.0/24\n"),
                    weight: Points::new(40).unwrap(),
                },
                NetworkList {
                    name: "blocked".into(),
                    file: file("blocked.txt", "203.0.113.0/24\n"),
                    weight: Points::new(100).unwrap(),
                },
            ],
            trusted: vec![file("trusted.txt", "198.51.100.192/26\n")],
            ja4: Some(file("ja4.txt", "t13d190900_9dc949149365_97f8aa674fd9 # a library\n")),
            ..BotConfig::default()
        };
        let config = EnrichConfig {
            salt_secret: Secret::new(b"test".to_vec()),
            visitor: VisitorIdentity::Ip,
            geo: GeoFiles::default(),
            floor_days: 3653,
        };
        Self { folder, enricher: Enricher::with_bots(config, bots).unwrap() }
    }

    fn click(user_agent: &str, ip: &str, signals: &str) -> Click {
        let user_agent = serde_json::to_string(user_agent).unwrap();
        let json = format!("{{\"link_id\":1,\"ip\":\"{ip}\",\"user_agent\":{user_agent},\"signals\":{{{signals}}}}}");
        Click::parse(json.as_bytes()).unwrap()
    }

    fn reason(&self, user_agent: &str, ip: &str, signals: &str) -> (Level, Option<String>) {
        let explained = self.enricher.explain(Self::click(user_agent, ip, signals), stamp()).unwrap();
        let click = self.enricher.enrich(Self::click(user_agent, ip, signals), stamp()).unwrap();
        assert_eq!(explained.click, click, "explaining changes nothing");
        (explained.level, click.bot.or(click.suspected).map(|reason| reason.to_string()))
    }
}

#[test]
fn verdict_on_every_kind_of_click() {
    use Level::{Bot, Human, Suspected};
    let stage = Stage::new();
    let browser = format!(r#"{HINTS},"https":true,"headers":{BROWSERS_HEADERS}"#);
    let phone = browser.replace("?0", "?1").replace("Windows", "Android");
    let linux = browser.replace("Windows", "Linux");
    let table: &[(&str, &str, &str, Level, Option<&str>)] = &[
        // Nothing is known but the user agent.
        (CHROME, HOME, "", Human, None),
        (CRAWLER, HOME, "", Bot, Some("ua:isbot")),
        ("", HOME, "", Bot, Some("ua:empty")),
        // The file's list is a reason of its own, and takes people out of the built-in ones.
        (OWN, HOME, "", Bot, Some("ua:own")),
        ("Lighthouse-of-Harbour/1 (bot)", HOME, "", Human, None),
        // Browsers that send what browsers send.
        (CHROME, HOME, &browser, Human, None),
        (PHONE, HOME, &phone, Human, None),
        (DESKTOP_SITE, HOME, &linux, Human, None),
        (DESKTOP_SITE, HOME, &linux.replace("\"Linux", "\"Android"), Human, None),
        (FIREFOX, HOME, &format!(r#""https":true,"headers":{BROWSERS_HEADERS}"#), Human, None),
        (WEBVIEW, HOME, r#""https":true,"headers":["accept","accept-encoding","accept-language"]"#, Human, None),
        // Over plain http nobody sends hints; what was not looked at is not missing.
        (CHROME, HOME, r#""https":false,"headers":["accept","accept-encoding","accept-language"]"#, Human, None),
        (CHROME, HOME, r#""https":true"#, Human, None),
        // Platforms and versions that were never compared.
        (CHROME, HOME, &browser.replace("Windows", "Plan 9"), Human, None),
        (CHROME, HOME, &browser.replace("Chromium", "Other"), Human, None),
        // Contradictions.
        (CHROME, HOME, &browser.replace("Windows", "Linux"), Suspected, Some("suspected:hints:platform")),
        (CHROME, HOME, &browser.replace("?0", "?1"), Suspected, Some("suspected:hints:mobile")),
        (CHROME, HOME, &browser.replace("124", "99"), Suspected, Some("suspected:hints:version")),
        (FIREFOX, HOME, &browser, Suspected, Some("suspected:hints:foreign")),
        (CHROME, HOME, &browser.replace("Google Chrome", "HeadlessChrome"), Bot, Some("hints:headless")),
        // One header that is missing is doubt; with a rented machine it is suspicion.
        (CHROME, HOME, r#""https":true,"headers":["accept","accept-encoding"]"#, Human, None),
        (
            CHROME,
            CLOUD,
            r#""https":true,"headers":["accept","accept-encoding"]"#,
            Suspected,
            Some("suspected:headers:no_language"),
        ),
        (FIREFOX, CLOUD, r#""headers":["accept-language"]"#, Suspected, Some("suspected:headers:no_accept")),
        // A program that is not a browser owes no header.
        ("HarbourApp/1", HOME, r#""https":true,"headers":[]"#, Human, None),
        // Two families of doubt and a contradiction are enough together, and say so.
        (CHROME, CLOUD, &browser.replace("Windows", "Linux"), Bot, Some("several:hints:platform")),
        // Networks.
        (CHROME, CLOUD, "", Human, None),
        (CHROME, BLOCKED, "", Bot, Some("network:blocked")),
        (CHROME, TRUSTED, r#""headers":["accept","accept-encoding"]"#, Human, None),
        (CRAWLER, BLOCKED, "", Bot, Some("ua:isbot")),
        // What gives a program away.
        (CHROME, HOME, r#""webdriver":true"#, Bot, Some("signal:webdriver")),
        (CHROME, HOME, r#""webdriver":false"#, Human, None),
        (CHROME, HOME, r#""ja4":"t13d190900_9dc949149365_97f8aa674fd9""#, Bot, Some("signal:ja4")),
        (CHROME, HOME, r#""ja4":"t13d1516h2_8daaf6152771_b186095e22b6""#, Human, None),
        (CHROME, HOME, r#""edge":"forged""#, Bot, Some("signal:edge_forged")),
        (CHROME, HOME, r#""edge":"expired""#, Human, None),
        (CHROME, CLOUD, r#""edge":"expired""#, Suspected, Some("suspected:signal:edge_expired")),
        (CHROME, HOME, r#""edge":"signed""#, Human, None),
        // The edge's score weighs as much as it is sure.
        (CHROME, HOME, r#""bot_score":49"#, Human, None),
        (CHROME, HOME, r#""bot_score":50"#, Suspected, Some("suspected:signal:edge_score")),
        (CHROME, HOME, r#""bot_score":100"#, Bot, Some("signal:edge_score")),
        // Challenges.
        (CHROME, HOME, r#""challenge":"failed""#, Bot, Some("challenge:failed")),
        (CHROME, HOME, r#""challenge":"unanswered""#, Suspected, Some("suspected:challenge:unanswered")),
        (CHROME, CLOUD, r#""challenge":"unanswered""#, Bot, Some("several:challenge:unanswered")),
        (CHROME, CLOUD, r#""challenge":"pressed","bot_score":20"#, Suspected, Some("suspected:network:cloud")),
        // Contradictory signs: passing takes back what was only likely, and nothing that a program said of itself.
        (CHROME, CLOUD, r#""challenge":"passed","bot_score":90"#, Human, None),
        (CHROME, BLOCKED, r#""challenge":"passed""#, Human, None),
        (CRAWLER, HOME, r#""challenge":"passed""#, Bot, Some("ua:isbot")),
        (CHROME, HOME, r#""challenge":"passed","webdriver":true"#, Bot, Some("signal:webdriver")),
        (CHROME, HOME, r#""challenge":"passed","edge":"forged""#, Bot, Some("signal:edge_forged")),
    ];
    for (user_agent, ip, signals, level, reason) in table {
        let expected = (*level, reason.map(str::to_owned));
        assert_eq!(stage.reason(user_agent, ip, signals), expected, "{user_agent} from {ip} with {signals}");
    }
}

#[test]
fn day_of_the_click_decides_and_not_the_day_it_is_judged() {
    let stage = Stage::new();
    let on = |date: &str| {
        let mut click = Stage::click(OWN, HOME, "");
        click.clicked_at = Some(format!("{date}T12:00:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond())
            .and_then(crate::bucket::Timestamp::from_millis);
        stage.enricher.enrich(click, Stamp { received_at: Day(20_400).start(), ..stamp() }).unwrap()
    };
    let (within, after) = (on("2024-10-04"), on("2024-10-05"));
    assert_eq!((within.bot.as_deref(), within.agent.device), (Some("ua:own"), super::super::Device::Bot));
    assert_eq!((after.bot, after.agent.device), (None, super::super::Device::Desktop));
}

#[test]
fn signs_are_told_with_what_they_weigh() {
    let stage = Stage::new();
    let click = Stage::click(CHROME, CLOUD, r#""https":true,"headers":["accept"],"bot_score":30"#);
    let explained = stage.enricher.explain(click, stamp()).unwrap();
    let told: Vec<_> = explained.signs.iter().map(|sign| (&*sign.reason, sign.points, sign.counts)).collect();
    assert_eq!(
        told,
        [
            ("signal:edge_score", 30, true),
            ("headers:no_language", 40, true),
            ("headers:no_accept", 40, false),
            ("headers:no_hints", 40, false),
            ("headers:no_fetch", 40, false),
            ("network:cloud", 40, true),
        ]
    );
    assert_eq!((explained.points, explained.level), (110, Level::Bot));
    assert_eq!(explained.click.bot.as_deref(), Some("several:headers:no_language"));
}

#[test]
fn broken_list_leaves_the_old_ones_and_a_sound_one_takes_their_place() {
    let stage = Stage::new();
    let path = stage.folder.path().join("blocked.txt");
    let blocked = |ip: &str| stage.reason(CHROME, ip, "").0 == Level::Bot;
    let version = stage.enricher.rules_version();
    assert!(version.contains("/bots@") && matches!(stage.enricher.reload()[1], Reload::Unchanged));
    for broken in ["203.0.113.0/24\nnonsense\n", "203.0.113.1/24\n"] {
        std::fs::write(&path, broken).unwrap();
        let [_, Reload::Kept(error)] = stage.enricher.reload() else { panic!("a broken list was taken") };
        assert!(error.to_string().contains("blocked.txt, line"), "{error}");
        assert!(matches!(stage.enricher.reload()[1], Reload::Unchanged), "a broken list is told once");
        assert!(blocked(BLOCKED) && stage.enricher.rules_version() == version);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(stage.enricher.reload()[1], Reload::Kept(_)) && blocked(BLOCKED));
    std::fs::write(&path, "192.0.2.0/24\n").unwrap();
    assert!(matches!(stage.enricher.reload()[1], Reload::Replaced));
    assert!(!blocked(BLOCKED) && blocked(HOME) && stage.enricher.rules_version() != version);
}

#[test]
fn stored_click_is_judged_again_by_its_user_agent_alone() {
    let stage = Stage::new();
    let rules = stage.enricher.rules();
    let at = stamp().received_at;
    let table: &[(&str, Option<&str>, Option<&str>)] = &[
        (CHROME, None, None),
        (CRAWLER, None, Some("ua:isbot")),
        (CHROME, Some("ua:isbot"), None),
        (CRAWLER, Some("ua:feed"), Some("ua:isbot")),
        (CHROME, Some("suspected:ua:old"), None),
        // Other signs are not stored: what they said stays, unless the user agent now says more.
        (CHROME, Some("network:blocked"), Some("network:blocked")),
        (CRAWLER, Some("network:blocked"), Some("network:blocked")),
        (CHROME, Some("several:hints:platform"), Some("several:hints:platform")),
        (CHROME, Some("suspected:hints:platform"), Some("suspected:hints:platform")),
        (CRAWLER, Some("suspected:hints:platform"), Some("ua:isbot")),
    ];
    for (user_agent, stored, becomes) in table {
        assert_eq!(rules.judge(Some(user_agent), at, *stored).bot.as_deref(), *becomes, "{user_agent} {stored:?}");
    }
}

#[test]
fn fingerprints_that_are_none_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ja4.txt");
    for line in ["t13d1516h2", "T13D1516H2_8DAAF6152771_B186095E22B6", "t13d1516h2_8daaf6152771_b186095e22b6 x"] {
        std::fs::write(&path, format!("# list\n{line}\n")).unwrap();
        let error = read_ja4(&path).unwrap_err().to_string();
        assert!(error.contains("ja4.txt, line 2") && error.contains("no JA4 fingerprint"), "{error}");
    }
}
