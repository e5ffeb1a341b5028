//! Rows of rollups: what the API answers of both layers, whole instead of the most frequent alone.
//!
//! An answer says what it lacks; a file does not. So a question whose answer would lack a layer is refused here.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use linktide_common::bucket::{Bucket, Range, Timestamp, buckets};
use linktide_common::count::Counts;
use linktide_common::dimension::OTHER;
use linktide_common::problem::{Problem, ProblemKind};

use super::spec::{Of, Spec};
use super::{ExportError, Exports};
use crate::answer::Answers;
use crate::ask::At;
use crate::envelope::instant;
use crate::freshness::{Away, Basis};
use crate::merge;
use crate::needs::{Needs, Told, Wanted};
use crate::state::Query;

/// Rows of a batch.
const ROWS: usize = 8192;

/// The columns of an export of a rollup.
pub(super) fn schema(of: Of) -> SchemaRef {
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    // Null where it is not known: not at all, or of clicks that came in lately.
    let unique = || Field::new("unique_clicks", DataType::Int64, true);
    Arc::new(Schema::new(match of {
        Of::Clicks | Of::Timeseries => vec![
            text("start", false),
            text("end", false),
            count("clicks"),
            unique(),
            count("bots"),
            count("previews"),
            Field::new("partial", DataType::Boolean, false),
        ],
        Of::Breakdown => vec![
            text("dimension", false),
            text("value", false),
            count("clicks"),
            Field::new("share", DataType::Float64, false),
        ],
        Of::Links => vec![
            Field::new("link_id", DataType::UInt64, false),
            count("clicks"),
            unique(),
            count("bots"),
            count("previews"),
            text("slug", true),
            text("title", true),
            text("destination", true),
        ],
    }))
}

/// All rows, and as of when they are whole.
pub(super) async fn rows(
    exports: &Exports,
    query: &Query,
    spec: &Spec,
    at: &At,
    range: Range,
) -> Result<(Vec<RecordBatch>, String), Problem> {
    let (mut wanted, mut cut) = (Wanted::default(), Vec::new());
    let unique = query.tells_repeats(spec.tenant, spec.asked.traffic);
    match spec.of {
        Of::Timeseries | Of::Clicks => {
            cut = buckets(range, spec.unit, &spec.asked.zone)
                .map_err(|error| Problem::parameter("unit", spec.unit.name(), error.to_string()))?;
            let sums = cut.iter().map(|bucket| bucket.range).collect();
            wanted.subject(spec.subject(), Needs { sums, repeats: unique, ..Needs::default() });
        }
        Of::Breakdown => {
            let values = spec.by.iter().map(|dimension| (*dimension, range)).collect();
            wanted.subject(spec.subject(), Needs { sums: vec![range], values, ..Needs::default() });
        }
        Of::Links => wanted.links(spec.tenant, range, Told::All { repeats: unique }),
    }
    let answers = query.ask(at, &wanted).await?;
    let as_of = whole(&answers)?;
    // There may be a million links: no work for the runtime of the requests.
    let (tenant, spec) = (spec.tenant, spec.clone());
    let rows = exports.pool.run(tenant, async move {
        let columns = match spec.of {
            Of::Timeseries | Of::Clicks => timeseries(&spec, &answers, &cut, unique),
            Of::Breakdown => breakdown(&spec, &answers, range),
            Of::Links => links(&spec, &answers, range, unique),
        };
        RecordBatch::try_new(schema(spec.of), columns)
    });
    let rows = rows.await.ok_or(ExportError::Ends)?.map_err(|error| ExportError::Encode(error.into()))?;
    let starts = (0..rows.num_rows()).step_by(ROWS);
    Ok((starts.map(|start| rows.slice(start, ROWS.min(rows.num_rows() - start))).collect(), as_of))
}

/// As of when the answers are whole; refused where they lack a layer.
fn whole(answers: &Answers) -> Result<String, Problem> {
    let refused = |layer: &str, why: &str| {
        let detail =
            format!("the {layer} layer does not answer ({why}), and a file would not say that it lacks clicks");
        Err(Problem::new(ProblemKind::NotReady, detail).retry_after(5))
    };
    for basis in answers.bases() {
        match (&basis.batch, &basis.speed) {
            (Err(why), _) => return refused("batch", why),
            (_, Err(Away::Failed(why))) => return refused("speed", why),
            (Ok(()), Ok(_) | Err(Away::NotAsked)) => {}
        }
    }
    Ok(answers.bases().map(Basis::as_of).min().unwrap_or(Timestamp::MIN).to_string())
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|value| i64::try_from(value).unwrap_or(i64::MAX))))
}

/// Where they are told and known.
fn unique_clicks(unique: bool, values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let known = values.map(|value| i64::try_from(value.filter(|_| unique)?).ok());
    Arc::new(known.collect::<Int64Array>())
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn timeseries(spec: &Spec, answers: &Answers, cut: &[Bucket], unique: bool) -> Vec<ArrayRef> {
    let (zone, answer) = (&spec.asked.zone, answers.of(spec.subject()));
    let watermark = answer.basis.publication.watermark;
    let (as_of, answered) = (answer.basis.as_of(), answer.basis.answered());
    let counts: Vec<Counts> = cut.iter().map(|bucket| answer.totals(None).within(bucket.range).sum()).collect();
    let partial = cut.iter().map(|bucket| Some(merge::partial(bucket, watermark, as_of, answered)));
    vec![
        texts(cut.iter().map(|bucket| Some(instant(bucket.range.start, zone)))),
        texts(cut.iter().map(|bucket| Some(instant(bucket.range.end, zone)))),
        numbers(counts.iter().map(|counts| counts.clicks(spec.asked.traffic))),
        unique_clicks(unique, counts.iter().map(|counts| Some(counts.unique()))),
        numbers(counts.iter().map(|counts| counts.bots)),
        numbers(counts.iter().map(|counts| counts.previews)),
        Arc::new(partial.collect::<BooleanArray>()),
    ]
}

fn breakdown(spec: &Spec, answers: &Answers, range: Range) -> Vec<ArrayRef> {
    let (answer, traffic) = (answers.of(spec.subject()), spec.asked.traffic);
    let total = answer.totals(None).within(range).sum().clicks(traffic);
    let mut rows: Vec<(&str, String, u64)> = Vec::new();
    for dimension in &spec.by {
        // As in the answers: what a sender called `(other)` is among the others.
        let counts = answer.values(*dimension, range).into_iter().filter(|(value, _)| *value != OTHER);
        let (listed, rest) = merge::top(counts, traffic, total, usize::MAX);
        rows.extend(listed.into_iter().map(|listed| (dimension.name(), listed.value.to_string(), listed.clicks)));
        rows.extend((rest > 0).then(|| (dimension.name(), OTHER.to_owned(), rest)));
    }
    let share = rows.iter().map(|(_, _, clicks)| *clicks as f64 / total.max(1) as f64);
    vec![
        texts(rows.iter().map(|(dimension, _, _)| Some(dimension))),
        texts(rows.iter().map(|(_, value, _)| Some(value))),
        numbers(rows.iter().map(|(_, _, clicks)| *clicks)),
        Arc::new(Float64Array::from_iter_values(share)),
    ]
}

fn links(spec: &Spec, answers: &Answers, range: Range, unique: bool) -> Vec<ArrayRef> {
    let (answer, traffic) = (answers.links(spec.tenant, range), spec.asked.traffic);
    let mut rows: Vec<_> = answer.links.iter().filter(|(_, counts)| !counts.is_zero()).collect();
    rows.sort_unstable_by_key(|(link, counts)| (std::cmp::Reverse(counts.clicks(traffic)), **link));
    let labels: Vec<_> = rows.iter().map(|(link, _)| answer.labels.get(link)).collect();
    vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(link, _)| link.0))),
        numbers(rows.iter().map(|(_, counts)| counts.clicks(traffic))),
        unique_clicks(unique, rows.iter().map(|(link, _)| answer.unique_clicks(**link))),
        numbers(rows.iter().map(|(_, counts)| counts.bots)),
        numbers(rows.iter().map(|(_, counts)| counts.previews)),
        texts(labels.iter().map(|label| label.and_then(|label| label.slug.clone()))),
        texts(labels.iter().map(|label| label.and_then(|label| label.title.clone()))),
        texts(labels.iter().map(|label| label.and_then(|label| label.destination.clone()))),
    ]
}
