//! Small exports.

use std::collections::BTreeSet;

use axum::http::Method;
use linktide_common::bucket::Quarter;
use rand::RngExt as _;
use serde_json::json;

use super::decode::rows;
use super::world::{Plain, Row, W, World, config, quarter_text};
use crate::export::ExportConfig;

pub(super) const FORMATS: [&str; 4] = ["csv", "ndjson", "parquet", "arrow"];

/// Whether an export has a click, which is a bot's or not.
type Filter = Box<dyn Fn(&Plain, bool) -> bool + Send + Sync>;

/// What is asked for, as parameters and as a filter.
pub(super) struct Asked {
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) wants: Filter,
}

impl Asked {
    /// Anything: a range, a traffic, links and filters of several dimensions at once.
    pub(super) fn any(world: &mut World, of_link: Option<u64>) -> Self {
        let random = &mut world.random;
        let start = Quarter(W.first_quarter().0 - [100, 3_000, 120_000][random.random_range(0..3)]);
        let end = Quarter(start.0 + [90, 3_000, 130_000][random.random_range(0..3)]);
        let traffic = ["human", "bot", "all"][random.random_range(0..3)];
        let previews = random.random_bool(0.3);
        let language =
            ["", "en", "en,hi", "-en", "(none)", "-(none)", "hi,(none)", "-hi,(none)"][random.random_range(0..8)];
        let campaign = ["", "spring", "-spring", "it's \"5\\,5\"", "-it's \"5\\,5\",=1+1", "(none)", "\\-off"]
            [random.random_range(0..7)];
        let trigger = ["", "qr", "-qr", "link"][random.random_range(0..4)];
        let links: Vec<u64> = [vec![], vec![2], vec![1, u64::MAX], vec![9]][random.random_range(0..4)].clone();
        let mut parameters = vec![
            ("start", quarter_text(start)),
            ("end", quarter_text(end)),
            ("traffic", traffic.to_owned()),
            ("previews", previews.to_string()),
        ];
        let filters = [("language", language), ("utm_campaign", campaign), ("trigger", trigger)];
        parameters.extend(
            filters.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, (*value).to_owned())),
        );
        if of_link.is_none() && !links.is_empty() {
            let ids: Vec<String> = links.iter().map(u64::to_string).collect();
            parameters.push(("links", ids.join(",")));
        }
        let takes = |filter: &str, value: &str| {
            let (excludes, named) = filter.strip_prefix('-').map_or((false, filter), |named| (true, named));
            let named = named.replace("\\,", "\u{0}").replace("\\-", "-");
            let named: Vec<String> = named.split(',').map(|one| one.replace('\u{0}', ",")).collect();
            filter.is_empty() || named.iter().any(|one| one == value) != excludes
        };
        let links = of_link.map_or(links, |link| vec![link]);
        let wants = move |click: &Plain, bot: bool| {
            let of_traffic = if click.preview { previews } else { traffic == "all" || bot == (traffic == "bot") };
            click.tenant == 0
                && (links.is_empty() || links.contains(&click.link))
                && (start..end).contains(&Quarter::of(click.at))
                && of_traffic
                && takes(language, click.language.unwrap_or("(none)"))
                && takes(campaign, click.campaign.unwrap_or("(none)"))
                && takes(trigger, if click.qr { "qr" } else { "link" })
        };
        Self { parameters, wants: Box::new(wants) }
    }

    pub(super) fn query(&self) -> String {
        let mut url = url::Url::parse("http://host/").unwrap();
        url.query_pairs_mut().extend_pairs(&self.parameters);
        url.query().unwrap_or_default().to_owned()
    }

    /// The rows that must come.
    pub(super) fn expected(&self, world: &World) -> Vec<Row> {
        let wanted = world.archived().into_iter().filter(|(click, bot)| (self.wants)(click, *bot));
        let mut rows: Vec<Row> = wanted.map(|(click, bot)| shown(&click, bot)).collect();
        rows.sort();
        rows
    }
}

/// What is compared of a row.
fn shown(click: &Plain, bot: bool) -> Row {
    let trigger = if click.qr { "qr" } else { "link" };
    let mut row: Row = [
        ("click_id", click.id.to_string()),
        ("link_id", click.link.to_string()),
        ("clicked_at", format!("{}Z", &jiff_millis(click.at))),
        ("preview", click.preview.to_string()),
        ("trigger", trigger.to_owned()),
        ("is_bot", bot.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    row.extend(click.language.map(|language| ("language".to_owned(), language.to_owned())));
    row.extend(click.campaign.map(|campaign| ("utm_campaign".to_owned(), campaign.to_owned())));
    row
}

/// An instant with its milliseconds always there.
fn jiff_millis(at: linktide_common::bucket::Timestamp) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    match text.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<3}"),
        None => format!("{text}.000"),
    }
}

/// The same of rows that were read.
pub(super) fn compared(rows: Vec<Row>) -> Vec<Row> {
    let names = ["click_id", "link_id", "clicked_at", "preview", "trigger", "language", "utm_campaign"];
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|row| {
            let is_bot = row.contains_key("bot_reason").to_string();
            let mut kept: Row = row.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect();
            kept.insert("is_bot".to_owned(), is_bot);
            kept
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_are_those_of_a_plain_filter_in_every_format() {
    for seed in 0..3 {
        let mut world = World::new(seed, config()).await;
        let mut hour = W;
        for round in 0..3 {
            world.send(150).await;
            hour = linktide_common::bucket::Hour(hour.0 + world.random.random_range(1..30));
            world.roll_up(hour).await;
            let mut some = 0;
            for number in 0..24 {
                let of_link = (number % 3 == 0).then(|| world.random.random_range(1..4));
                let asked = Asked::any(&mut world, of_link);
                let format = FORMATS[number % 4];
                let place = of_link.map_or_else(|| "account".to_owned(), |link| format!("links/{link}"));
                let place = format!("/v1/{place}/export?format={format}&{}", asked.query());
                let answer = world.get(&place).await;
                assert_eq!(answer.status, 200, "{place}: {:?}", answer.body);
                assert_eq!(answer.header("linktide-as-of"), hour.start().to_string());
                let expected = asked.expected(&world);
                some += usize::from(!expected.is_empty());
                assert_eq!(compared(rows(format, answer.body.as_ref().unwrap())), expected, "{seed} {round} {place}");
            }
            assert!(some > 6, "hardly anything was asked for: {some}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_are_whole_and_as_the_api_answers_them() {
    let mut world = World::new(5, config()).await;
    world.send(150).await;
    world.roll_up(W.next()).await;
    // Bursts that history would call machines' are people's repeats until then.
    world.send(200).await;
    world.until_counted().await;
    for format in FORMATS {
        let get = async |what: &str| {
            let answer = world.get(&format!("/v1/{what}&format={format}")).await;
            assert_eq!(answer.status, 200, "{what}: {:?}", answer.body);
            rows(format, answer.body.as_ref().unwrap())
        };
        let when = "interval=90d&traffic=all&timezone=Asia/Kolkata";
        let total = world.get(&format!("/v1/account/summary?{when}")).await.json()["results"]["clicks"].clone();
        let clicks = |rows: &[Row]| rows.iter().map(|row| row["clicks"].parse::<u64>().unwrap()).sum::<u64>();
        let series = get(&format!("account/export?of=timeseries&unit=day&{when}")).await;
        assert_eq!((json!(clicks(&series)), series.len()), (total.clone(), 90));
        let answered = world.get(&format!("/v1/account/timeseries?unit=day&{when}")).await.json();
        assert_eq!(series[3]["start"], answered["results"][3]["start"].as_str().unwrap());
        let values = get(&format!("account/export?of=breakdown&by=language,utm_campaign&{when}")).await;
        assert_eq!(json!(clicks(&values)), json!(total.as_u64().unwrap() * 2));
        assert!(values.iter().any(|row| row["dimension"] == "utm_campaign" && row["value"] == "it's \"5,5\""));
        let links = get(&format!("account/export?of=links&{when}")).await;
        assert_eq!((json!(clicks(&links)), links.len()), (total, 4));
        assert!(links.iter().any(|row| row["link_id"] == u64::MAX.to_string()));
        let one = get(&format!("links/1/export?of=timeseries&unit=month&{when}")).await;
        let summary = world.get(&format!("/v1/links/1/summary?{when}")).await.json();
        assert_eq!(json!(clicks(&one)), summary["results"]["clicks"]);
        assert!(links.iter().chain(&one).all(|row| !row.contains_key("unique_clicks")), "of people alone");
        // People's clicks without repeats, of both layers.
        let people = "interval=90d&traffic=human";
        let series = get(&format!("account/export?of=timeseries&unit=day&{people}")).await;
        let answered = world.get(&format!("/v1/account/timeseries?unit=day&{people}")).await.json();
        let links = get(&format!("account/export?of=links&{people}")).await;
        let listed = world.get(&format!("/v1/links?{people}")).await.json()["results"]["links"].clone();
        let unique = |rows: &[Row]| rows.iter().map(|row| row["unique_clicks"].parse().unwrap()).collect::<Vec<u64>>();
        let told = |rows: &serde_json::Value| {
            let rows = rows.as_array().unwrap().iter();
            rows.map(|row| row["unique_clicks"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(unique(&series), told(&answered["results"]));
        assert_eq!(unique(&links)[..listed.as_array().unwrap().len()], told(&listed));
        let sum = unique(&links).iter().sum::<u64>();
        assert_eq!(sum, unique(&series).iter().sum::<u64>());
        assert!(sum < clicks(&links), "nobody came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_are_shown_where_they_are_asked_for_and_no_address_ever() {
    let mut world = World::new(6, config()).await;
    world.send(60).await;
    world.roll_up(W.next()).await;
    for format in FORMATS {
        let plain = world.get(&format!("/v1/account/export?interval=all&traffic=all&format={format}")).await;
        let with =
            world.get(&format!("/v1/account/export?interval=all&traffic=all&visitors=true&format={format}")).await;
        let (plain, with) = (plain.body.unwrap(), with.body.unwrap());
        assert!(rows(format, &plain).iter().all(|row| !row.contains_key("visitor") && !row.contains_key("ip_hash")));
        assert!(rows(format, &with).iter().all(|row| row["visitor"].len() == 32));
        for file in [plain, with] {
            assert!(!file.windows(10).any(|bytes| bytes == b"203.0.113."), "an address is in it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_that_is_too_large_is_refused_before_its_first_byte_and_names_the_job() {
    let mut world = World::new(7, ExportConfig { stream_rows: 20, ..config() }).await;
    world.send(200).await;
    world.roll_up(W.next()).await;
    let answer = world.get("/v1/account/export?interval=all&traffic=all").await;
    assert_eq!((answer.status, answer.json()["job"].clone()), (422, json!("/v1/exports")), "{:?}", answer.body);
    // It is the rows that are wanted that count, not those that are read.
    let few = "/v1/account/export?interval=all&traffic=bot&language=hi&trigger=qr&links=1";
    assert_eq!(world.get(few).await.status, 200);
    let answer = world.get("/v1/account/export?of=timeseries&unit=hour&interval=90d").await;
    assert_eq!(answer.status, 422, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_becomes_too_large_is_broken_off_and_does_not_look_whole() {
    let mut world = World::new(8, ExportConfig { stream_bytes: 250_000, ..config() }).await;
    // More rows than are read at once, so that the first piece is sent before the bytes are too many.
    world.send(6000).await;
    world.roll_up(W.next()).await;
    let answer = world.get("/v1/account/export?interval=all&traffic=all&previews=true").await;
    assert!(answer.status == 200 && answer.body.is_err(), "a file that is cut off looks whole: {}", answer.status);
    let answer = world.get("/v1/account/export?interval=all&traffic=all&previews=true&format=ndjson").await;
    assert_eq!(answer.status, 422, "what is too large at once is told as such");
    // As a client sees it: the connection ends before the body does.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = world.router.clone();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let url = format!("http://{address}/v1/account/export?interval=all&traffic=all&previews=true");
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.bytes().await.is_err(), "a file that is cut off looks whole to a client");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_is_refused_by_name() {
    let mut world = World::new(9, config()).await;
    world.send(10).await;
    world.roll_up(W.next()).await;
    let refused = [
        ("account/export?format=xlsx", "format"),
        ("account/export?of=all", "of"),
        ("account/export?of=breakdown", "by"),
        ("account/export?unit=day", "unit"),
        ("account/export?by=country", "by"),
        ("account/export?of=timeseries&country=US", "country"),
        ("account/export?of=timeseries&previews=true", "previews"),
        ("account/export?previews=yes", "previews"),
        ("account/export?links=1,two", "links"),
        ("account/export?of=timeseries&links=1,2", "links"),
        ("links/1/export?links=2", "links"),
        ("links/1/export?of=links", "of"),
        ("links/one/export", "link_id"),
        ("account/export?planet=Mars", "planet"),
        ("account/export?timezone=Mars", "timezone"),
        ("account/export?publication=99", "publication"),
    ];
    for (place, name) in refused {
        let answer = world.get(&format!("/v1/{place}")).await;
        assert_eq!(
            (answer.status, answer.json()["parameter"].clone()),
            (400, json!(name)),
            "{place}: {:?}",
            answer.body
        );
    }
    let names =
        ["../x", "a/b", "a\\b", ".hidden", "-rf", "a..b", "a%0d%0ab", "a%22b", "a%00", "con:x", "", "a.", "%e2%80%ae"];
    for name in names {
        let answer = world.get(&format!("/v1/account/export?filename={name}")).await;
        assert_eq!((answer.status, answer.json()["parameter"].clone()), (400, json!("filename")), "{name}");
    }
    let answer = world.get("/v1/account/export?filename=march_2026.v1&format=parquet").await;
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"march_2026.v1.parquet\"");
    let answer = world.get("/v1/links/7/export?start=2026-11-01&end=2026-11-30&timezone=Asia/Kolkata").await;
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"linktide-link-7-clicks-2026-11-01-2026-11-30.csv\""
    );
    let header = String::from_utf8(answer.body.unwrap().to_vec()).unwrap();
    assert!(header.starts_with("clicked_at,link_id,click_id,preview,trigger,"), "{header}");
    assert_eq!(world.send_request(Method::POST, "/v1/account/export", None).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_in_no_export() {
    use linktide_batch::Correct;
    use linktide_common::id::{LinkId, Subject, TenantId};
    let mut world = World::new(10, config()).await;
    world.send(100).await;
    world.roll_up(W.next()).await;
    let number = world.query.publications.borrow().as_ref().unwrap().number;
    let of_link = "/v1/account/export?interval=all&traffic=all&links=1&previews=true";
    let answer = world.get(of_link).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let before = rows("csv", answer.body.as_ref().unwrap());
    assert!(!before.is_empty());
    world.nightly().correct(Correct::Erase(Subject::Link(TenantId(0), LinkId(1)))).await.unwrap();
    assert_eq!(rows("csv", &world.get(of_link).await.body.unwrap()), Vec::<Row>::new());
    assert_eq!(world.get(&format!("{of_link}&publication={number}")).await.status, 410);
    let other = world.get("/v1/account/export?interval=all&traffic=all&links=2").await;
    assert!(!rows("csv", &other.body.unwrap()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_description_says_of_exports_is_true() {
    let mut world = World::new(11, config()).await;
    world.send(20).await;
    world.roll_up(W.next()).await;
    world.until_counted().await;
    let about = serde_json::to_value(crate::openapi()).unwrap();
    for place in ["/v1/account/export", "/v1/links/{link_id}/export"] {
        let parameters = about["paths"][place]["get"]["parameters"].as_array().unwrap().clone();
        let named = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
        assert!(named("of") && named("country") && named("timezone") && named("filename"));
        assert_eq!(named("links"), place == "/v1/account/export");
        for parameter in &parameters {
            let name = parameter["name"].as_str().unwrap();
            for value in parameter["schema"]["enum"].as_array().into_iter().flatten() {
                let value = value.as_str().unwrap();
                // What the value needs to mean anything.
                let with = match (name, value) {
                    ("of", "breakdown") => "&by=country",
                    ("of", "links") if place.contains("link_id") => continue,
                    ("unit", _) => "&of=timeseries",
                    _ => "",
                };
                let place = format!("{}?{name}={value}{with}", place.replace("{link_id}", "2"));
                assert_eq!(world.get(&place).await.status, 200, "{place}");
            }
        }
    }
    let members =
        about["paths"]["/v1/exports"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
            .as_object()
            .unwrap();
    assert!(members.contains_key("links") && members.contains_key("utm_source"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_left_out_that_cannot_hold_what_is_wanted_and_none_that_can() {
    use linktide_batch::reader::raw::Wanted;
    use linktide_common::bucket::{Hour, Range};
    use linktide_common::count::Traffic;
    use linktide_common::id::{LinkId, TenantId};
    let mut world = World::new(12, config()).await;
    for hours in [1, 30, 60, 90] {
        world.send(30).await;
        world.roll_up(Hour(W.0 + hours)).await;
    }
    let publication = world.query.publications.borrow().clone().unwrap();
    let snapshot = world.exports.raw.at(&publication).await.unwrap();
    let everything = Range::new(Quarter(0), Quarter(W.first_quarter().0 + 1000));
    let wanted = |tenant, links: &[u64], range| Wanted {
        tenant: TenantId(tenant),
        links: links.iter().copied().map(LinkId).collect(),
        range,
        traffic: Traffic::All,
        previews: true,
        filters: Vec::new(),
        visitors: false,
    };
    let files = |wanted: &Wanted| -> Vec<String> {
        snapshot.files(wanted).unwrap().into_iter().map(|file| file.path).collect()
    };
    let all = files(&wanted(0, &[], everything));
    assert!(all.len() >= 3, "{all:?}");
    assert!(files(&wanted(9, &[], everything)).is_empty(), "another tenant's");
    assert!(files(&wanted(0, &[500], everything)).is_empty(), "a link behind all that there are");
    // The last hours were received in the last file alone, which holds late clicks of long ago, too.
    let last_hours = Range::new(Hour(W.0 + 62).first_quarter(), Hour(W.0 + 90).first_quarter());
    assert!(files(&wanted(0, &[], last_hours)).len() < all.len());
    for range in [everything, last_hours, Range::new(Quarter(0), Hour(W.0 - 2000).first_quarter())] {
        for links in [&[][..], &[1], &[3, u64::MAX]] {
            let wanted = wanted(0, links, range);
            let (chosen, none) = (files(&wanted), Vec::new());
            let count = async |files: &[String]| snapshot.count(&wanted, files, &none, usize::MAX >> 1).await.unwrap();
            let plain = world.archived().into_iter().filter(|(click, _)| {
                let of_link = links.is_empty() || links.contains(&click.link);
                click.tenant == 0 && of_link && range.contains(Quarter::of(click.at))
            });
            assert_eq!(
                (count(&chosen).await, count(&all).await),
                (plain.clone().count(), plain.count()),
                "{range:?} {links:?}"
            );
        }
    }
}

/// A planner that mistakes a condition on what an outer join adds for one that only joined rows meet would drop all others.
#[tokio::test(flavor = "multi_thread")]
async fn no_click_is_dropped_whether_there_are_marks_of_rate_bots_or_not() {
    use futures::TryStreamExt as _;
    use linktide_batch::NightlyConfig;
    use linktide_common::bucket::Range;
    let everything = Range::new(Quarter(0), Quarter(W.first_quarter().0 + 1000));
    for marking in [true, false] {
        let mut world = World::new(15, config()).await;
        world.send(300).await;
        let rolled = W.next();
        if marking {
            world.roll_up(rolled).await;
        } else {
            world.archive_through(rolled).await;
            let config = NightlyConfig { rate_bots: None, ..NightlyConfig::default() };
            world.nightly_of(config).run(Some(rolled)).await.unwrap();
        }
        let publication = world.lake.publications().latest().await.unwrap().unwrap();
        assert_eq!(publication.tables.contains_key("rate_bot"), marking);
        let snapshot = world.exports.raw.at(&publication).await.unwrap();
        let clicks = world.archived();
        let quarters = |bot: bool| {
            let of_whom = clicks.iter().filter(move |(click, is_bot)| !click.agent_is_bot && *is_bot == bot);
            let clicks = of_whom.filter(|(click, _)| click.tenant == 0 && !click.preview);
            clicks.map(|(click, _)| Quarter::of(click.at)).collect::<BTreeSet<_>>()
        };
        // Where marks are, and where there are none: of another quarter, and of a tenant that has nothing.
        let quiet = *quarters(false).difference(&quarters(true)).next().unwrap();
        let quiet = Range::new(quiet, quiet.next());
        for (tenant, range) in [(0, everything), (7, everything), (9, everything), (0, quiet)] {
            let clicks = world
                .archived()
                .into_iter()
                .filter(|(click, _)| click.tenant == tenant && range.contains(Quarter::of(click.at)));
            let reason = |(click, bot): (Plain, bool)| {
                let rate = marking && bot && !click.agent_is_bot;
                let reason = if click.agent_is_bot { Some("ua") } else { rate.then_some("rate") };
                (click.preview, reason)
            };
            let clicks: Vec<_> = clicks.map(reason).collect();
            let has = |wanted: Option<&str>| clicks.iter().any(|(preview, reason)| !preview && *reason == wanted);
            assert_eq!(has(Some("rate")), marking && range == everything && tenant != 9, "{tenant} {range:?}");
            assert_eq!(has(None), tenant != 9, "{tenant} {range:?}");
            for traffic in ["human", "bot", "all"] {
                for previews in ["false", "true"] {
                    for filter in ["", "rate", "-rate", "(none)", "-(none)", "ua:*", "-ua:*", "rate,ua:*"] {
                        let parameters = [("traffic", traffic), ("previews", previews), ("bot_reason", filter)];
                        let given = parameters.iter().filter(|(_, value)| !value.is_empty());
                        let given = given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
                        let parameters = crate::params::Parameters::of(given);
                        let tenant = linktide_common::id::TenantId(tenant);
                        let spec = crate::export::spec::Spec::parse(&parameters, tenant, None).unwrap();
                        let wanted = spec.wanted(range);
                        let expected = clicks.iter().filter(|(preview, reason)| {
                            let of_traffic = match traffic {
                                _ if *preview => previews == "true",
                                "human" => reason.is_none(),
                                "bot" => reason.is_some(),
                                _ => true,
                            };
                            of_traffic
                                && match filter {
                                    "" => true,
                                    "rate" => *reason == Some("rate"),
                                    "-rate" => *reason != Some("rate"),
                                    "(none)" => reason.is_none(),
                                    "-(none)" | "rate,ua:*" => reason.is_some(),
                                    "ua:*" => *reason == Some("ua"),
                                    _ => *reason != Some("ua"),
                                }
                        });
                        let expected = expected.count();
                        let files: Vec<String> =
                            snapshot.files(&wanted).unwrap().into_iter().map(|file| file.path).collect();
                        let counted = snapshot.count(&wanted, &files, &[], usize::MAX >> 1).await.unwrap();
                        let read = snapshot.clicks(&wanted, &files, &[]).await.unwrap();
                        let read: Vec<_> = read.try_collect().await.unwrap();
                        let read: usize = read.iter().map(|rows| rows.num_rows()).sum();
                        let what = format!("{marking} {tenant} {range:?} {traffic} {previews} {filter}");
                        assert_eq!((counted, read), (expected, expected), "{what}");
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_that_needs_more_memory_than_there_is_fails_and_says_so() {
    use futures::TryStreamExt as _;
    use linktide_batch::reader::raw::RawClicks;
    use linktide_common::bucket::Range;
    let mut world = World::new(13, config()).await;
    // Enough bursts that some address is marked: marks are what is held.
    world.send(400).await;
    world.roll_up(W.next()).await;
    let publication = world.query.publications.borrow().clone().unwrap();
    let parameters = crate::params::Parameters::of(vec![("traffic".into(), "all".into())]);
    let spec = crate::export::spec::Spec::parse(&parameters, linktide_common::id::TenantId(0), None).unwrap();
    let wanted = spec.wanted(Range::new(Quarter(0), Quarter(W.first_quarter().0 + 100)));
    for (memory, enough) in [(100, false), (64 << 20, true)] {
        let snapshot = RawClicks::new(world.lake.clone(), memory).unwrap().at(&publication).await.unwrap();
        let files: Vec<String> = snapshot.files(&wanted).unwrap().into_iter().map(|file| file.path).collect();
        let read = async { snapshot.clicks(&wanted, &files, &[]).await?.try_collect::<Vec<_>>().await };
        match read.await {
            Ok(_) => assert!(enough, "{memory} bytes were enough"),
            Err(error) => assert!(!enough && error.to_string().contains("export.memory"), "{memory}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_that_were_deleted_by_age_are_not_passed_over_in_silence() {
    use linktide_batch::NightlyConfig;
    use linktide_common::bucket::Hour;
    let mut world = World::new(14, config()).await;
    for hours in [1, 30, 60, 90] {
        world.send(30).await;
        world.roll_up(Hour(W.0 + hours)).await;
    }
    let place = "/v1/account/export?interval=all&traffic=all&previews=true";
    let all = rows("csv", &world.get(place).await.body.unwrap()).len();
    let config = NightlyConfig { raw_days: Some(2), ..NightlyConfig::default() };
    world.nightly_of(config).run(None).await.unwrap();
    assert!(world.query.publications.borrow().as_ref().unwrap().deleted_through.is_some());
    let refused = world.get(place).await;
    assert_eq!(refused.status, 410, "{:?}", refused.body);
    let left = world.get(&format!("{place}&incomplete=true")).await;
    let left = rows("csv", &left.body.unwrap()).len();
    assert!(left > 0 && left < all, "{left} of {all}");
    let whole_from = refused.json()["whole_from"].as_str().unwrap().to_owned();
    let whole = format!("/v1/account/export?start={whole_from}&end=2026-12-31&traffic=all&previews=true");
    assert_eq!(world.get(&whole).await.status, 200);
}
