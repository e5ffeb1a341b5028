//! Raw clicks as the queries of rollups see them. The views
//!
//! - `clicks`: one row a click, with its buckets, what it counts as, and its value in each dimension,
//! - `everyone`: the same, and each once more without its link, for its tenant,
//! - `repeated`: how many repeats a link, and its tenant, had in a quarter of an hour,
//!
//! are what the tables' queries begin with. A place that could not be looked up is looked up again, and what `marks` names
//! is a bot's.

use std::collections::BTreeSet;
use std::ops::Range;

use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Hour, QUARTERS_PER_DAY, QUARTERS_PER_HOUR};
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::{RATE, SUSPECTED};
use linktide_common::id::TenantId;
use linktide_common::publication::{CutEntry, Tombstone};
use linktide_common::repeat::Windows;

use super::order::in_order;
use super::parts::{BY_HOUR_OF_RECEIPT, Part, Sample, parts};
use super::repeats::Repeats;
use super::session::Session;
use crate::error::BatchError;
use crate::tables::columns::signed;

pub(super) const MINUTE_US: i64 = 60_000_000;
pub(super) const QUARTER_US: i64 = 15 * MINUTE_US;
pub(super) const HOUR_US: i64 = 4 * QUARTER_US;
pub(super) const DAY_US: i64 = 24 * HOUR_US;

/// What a mark says of a click: its address, its minute, and the hour it was received in, on its link.
const MARK: [&str; 5] = ["tenant_id", "link_id", "minute", "received_hour", "ip_hash"];

/// What is asked about each click beside what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    /// Whether there is a view `marks`.
    pub(super) marked: bool,
    /// Whether places can be looked up.
    pub(super) places: bool,
}

/// What a click costs that may be a repeat, when parts are cut.
const A_CLICK: usize = 2;

/// Makes the views of those clicks of `raw` that `condition` takes, whose survey knows who can be there again. Repeats are
/// told by `windows`; `sample` is of the clicks.
pub(super) async fn open(
    session: &Session,
    condition: &str,
    judgement: Judgement,
    windows: &Windows,
    sample: &Sample,
) -> Result<(), BatchError> {
    session.view("clicks", &clicks(condition, judgement)).await?;
    session.view("everyone", &everyone()).await?;
    // Sorting clicks is done once; what comes of it is little.
    let mut repeats = Repeats::default();
    let parts = parts(&[(sample, A_CLICK)], BY_HOUR_OF_RECEIPT);
    let of_part = |part: Part| perhaps_repeated(&format!("{condition} AND {}", part.condition()), judgement, windows);
    let count = async {
        let mut answers = std::pin::pin!(session.answers(parts.into_iter().map(of_part)));
        while let Some(clicks) = answers.try_next().await? {
            for clicks in in_order(&clicks, &Repeats::ORDER)? {
                repeats.take(&clicks?)?;
            }
        }
        Ok(())
    };
    session.or_damage(count).await?;
    session.table("repeated", repeats.rows()?)
}

/// People's clicks that can be repeats. Hashes of visitors are of a UTC day, so none follows a click of the day before, and
/// event days can be rolled up one by one.
fn perhaps_repeated(condition: &str, judgement: Judgement, windows: &Windows) -> String {
    format!(
        "SELECT tenant_id, link_id, coalesce(visitor, ip_hash) AS visitor, {received} AS received,
                CAST(clicked_at AS BIGINT) AS clicked, {window} AS longest
         FROM ({unmarked})
         WHERE NOT preview AND {person} AND {window} > 0
               AND perhaps_again(tenant_id, link_id, {received}, coalesce(visitor, ip_hash))",
        person = is_person(),
        received = divided("CAST(received_at AS BIGINT)", HOUR_US).0,
        window = window_of("tenant_id", windows),
        unmarked = unmarked(condition, judgement.marked),
    )
}

/// A tenant's window in microseconds, 0 where there is none.
fn window_of(tenant: &str, windows: &Windows) -> String {
    let micros = |window: Option<u32>| i64::from(window.unwrap_or_default()) * 1000;
    let (window, tenants) = windows.parts();
    if tenants.is_empty() {
        return micros(window).to_string();
    }
    let own = |(id, window): (&TenantId, &Option<u32>)| format!("WHEN {} THEN {} ", signed(id.0), micros(*window));
    format!("CASE {tenant} {}ELSE {} END", tenants.iter().map(own).collect::<String>(), micros(window))
}

/// Makes the view `rated` of those clicks of `raw` whose address clicked more than `most` times in their minute, as far
/// as they were received in the same hour; tells whether there are any. Only those whose address can have done so, by the
/// survey, are looked at.
pub(super) async fn rate(session: &Session, condition: &str, most: u32) -> Result<bool, BatchError> {
    let perhaps = format!(
        "{condition} AND perhaps_often({}, {}, ip_hash)",
        divided("CAST(clicked_at AS BIGINT)", MINUTE_US).0,
        divided("CAST(received_at AS BIGINT)", HOUR_US).0
    );
    session.view("stamped", &stamped(&perhaps)).await?;
    let often = format!(
        "SELECT ip_hash, minute, received_hour FROM stamped WHERE NOT preview AND ip_hash IS NOT NULL
         GROUP BY ip_hash, minute, received_hour HAVING count(*) > {most}"
    );
    if session.keep("often", &often).await? == 0 {
        return Ok(false);
    }
    // The side that is kept in memory is the left one: the few that click often.
    let rated = "SELECT stamped.tenant_id, stamped.link_id, stamped.minute, stamped.received_hour, stamped.ip_hash
                 FROM often JOIN stamped ON often.ip_hash = stamped.ip_hash AND often.minute = stamped.minute
                      AND often.received_hour = stamped.received_hour
                 WHERE NOT stamped.preview";
    session.view("rated", rated).await?;
    Ok(true)
}

/// The condition that a click lies between two cuts.
pub(crate) fn between(from: &[CutEntry], to: &[CutEntry]) -> String {
    let between = |to: &CutEntry| {
        let same = |from: &&CutEntry| (from.epoch, from.partition) == (to.epoch, to.partition);
        let from = from.iter().find(same).map_or(0, |from| from.position.offset.0);
        format!(
            "(epoch = {} AND partition = {} AND \"offset\" >= {from} AND \"offset\" < {})",
            to.epoch, to.partition, to.position.offset
        )
    };
    let any = to.iter().map(between).collect::<Vec<_>>().join(" OR ");
    if any.is_empty() { "FALSE".to_owned() } else { format!("({any})") }
}

/// The condition that a click was not erased.
pub(crate) fn not_erased(tombstones: &[Tombstone]) -> String {
    tombstones.iter().map(|tombstone| format!(" AND NOT {}", erased(tombstone))).collect()
}

/// The condition that a tombstone covers a click.
pub(super) fn erased(tombstone: &Tombstone) -> String {
    let link = tombstone.link_id.map(|link| format!(" AND link_id = {}", signed(link.0))).unwrap_or_default();
    format!(
        "(tenant_id = {}{link} AND CAST(received_at AS BIGINT) < {})",
        signed(tombstone.tenant_id.0),
        tombstone.received_before.start().as_millis() * 1000
    )
}

/// The condition that an instant lies on one of these days.
pub(super) fn on_days(instant: &str, days: &BTreeSet<Day>) -> String {
    let listed = days.iter().map(|day| day.0.to_string()).collect::<Vec<_>>().join(", ");
    if days.is_empty() { "FALSE".to_owned() } else { format!("{} IN ({listed})", day_number(instant)) }
}

/// The condition that a mark is of clicks received in these hours.
pub(super) fn received_in(hours: Range<Hour>) -> String {
    let [from, to] = [hours.start, hours.end].map(|hour| hour.start().as_millis() * 1000);
    format!("CAST(received_hour AS BIGINT) >= {from} AND CAST(received_hour AS BIGINT) < {to}")
}

/// The UTC day of an instant as a number of days since 1970.
pub(super) fn day_number(instant: &str) -> String {
    divided(&format!("CAST({instant} AS BIGINT)"), DAY_US).0
}

/// A division that rounds down, and its remainder: event times before 1970 are negative.
pub(super) fn divided(number: &str, by: i64) -> (String, String) {
    let rest = format!("((({number}) % {by} + {by}) % {by})");
    (format!("((({number}) - {rest}) / {by})"), rest)
}

/// An instant cut down to a whole number of microseconds.
fn floored(instant: &str, by: i64) -> String {
    let number = divided(&format!("CAST({instant} AS BIGINT)"), by).0;
    format!("arrow_cast({number} * {by}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// The planned clicks with what marks go by.
fn stamped(condition: &str) -> String {
    format!(
        "SELECT *, {} AS minute, {} AS received_hour FROM raw WHERE {condition}",
        floored("clicked_at", MINUTE_US),
        floored("received_at", HOUR_US)
    )
}

/// The planned clicks, each with whether an address clicked too often.
pub(crate) fn judged(condition: &str, marked: bool) -> String {
    if !marked {
        return format!("SELECT *, FALSE AS too_often FROM raw WHERE {condition}");
    }
    let same = MARK.map(|column| format!("marks.{column} = stamped.{column}")).join(" AND ");
    format!(
        "SELECT stamped.*, marks.ip_hash IS NOT NULL AS too_often
         FROM marks RIGHT JOIN ({}) AS stamped ON {same}",
        stamped(condition)
    )
}

/// Whether a click counts as a person's: it has no reason, or one that only makes it suspected.
pub(crate) fn is_person() -> String {
    format!("(bot_reason IS NULL OR starts_with(bot_reason, '{SUSPECTED}'))")
}

/// The bot reason of a click that is a bot's for its rate as well, where `too_often` holds.
pub(crate) fn reason(too_often: &str) -> String {
    format!("CASE WHEN {too_often} AND {} THEN '{}' ELSE bot_reason END", is_person(), RATE)
}

/// The planned clicks whose address did not click too often. (A condition on the outer join of [`judged`] would not do: the
/// planner was seen to drop every click then.)
fn unmarked(condition: &str, marked: bool) -> String {
    if !marked {
        return format!("SELECT * FROM raw WHERE {condition}");
    }
    let same = MARK.map(|column| format!("marks.{column} = stamped.{column}")).join(" AND ");
    format!("SELECT stamped.* FROM marks RIGHT ANTI JOIN ({}) AS stamped ON {same}", stamped(condition))
}

/// A dimension's value as a query says it; null where there is none.
fn value(dimension: Dimension, places: bool) -> String {
    let name = dimension.name();
    match dimension {
        Dimension::Continent | Dimension::Country | Dimension::Region | Dimension::City if places => {
            format!("coalesce({name}, place['{name}'])")
        }
        _ => name.to_owned(),
    }
}

fn clicks(condition: &str, judgement: Judgement) -> String {
    let (day, in_day) = divided("quarter", i64::from(QUARTERS_PER_DAY));
    let (hour, in_hour) = divided("quarter", i64::from(QUARTERS_PER_HOUR));
    let value = |dimension: &Dimension| {
        format!(", coalesce({}, '{NONE}') AS {}", value(*dimension, judgement.places), dimension.name())
    };
    let values = Dimension::ALL.iter().map(value);
    let place = if judgement.places { ", located(geo_pending) AS place" } else { "" };
    format!(
        "SELECT tenant_id, link_id, click_id, clicked_at, slug, title, destination,
                slug IS NOT NULL OR title IS NOT NULL OR destination IS NOT NULL AS labelled,
                arrow_cast(arrow_cast({day}, 'Int32'), 'Date32') AS day, arrow_cast({in_day}, 'Int16') AS in_day,
                arrow_cast({hour} * {HOUR_US}, 'Timestamp(Microsecond, Some(\"UTC\"))') AS hour, {in_hour} AS in_hour,
                CASE WHEN preview THEN 0 ELSE 1 END AS click, CASE WHEN preview THEN 1 ELSE 0 END AS preview,
                CASE WHEN NOT preview AND NOT {person} THEN 1 ELSE 0 END AS bot,
                CASE WHEN NOT preview AND {person} THEN coalesce(visitor, ip_hash) END AS visitor{values}
         FROM (SELECT * EXCEPT (bot_reason), {quarter} AS quarter{place},
                      {reason} AS bot_reason
               FROM ({judged}))",
        person = is_person(),
        values = values.collect::<String>(),
        quarter = divided("CAST(clicked_at AS BIGINT)", QUARTER_US).0,
        reason = reason("too_often"),
        judged = judged(condition, judgement.marked),
    )
}

fn everyone() -> String {
    let values: String = Dimension::ALL.iter().map(|dimension| format!(", {}", dimension.name())).collect();
    let columns = format!("clicked_at, day, in_day, hour, in_hour, click, preview, bot, visitor{values}");
    format!(
        "SELECT tenant_id, link_id, {columns} FROM clicks
         UNION ALL SELECT tenant_id, CAST(NULL AS BIGINT) AS link_id, {columns} FROM clicks"
    )
}
