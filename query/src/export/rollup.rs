//! Rows of rollups: what the API answers of both layers, whole instead of the most frequent alone.
//!
//! An answer says what it lacks; a file does not. So a question whose answer would lack a layer is refused here.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use linktide_common::bucket::{Range, buckets};
use linktide_common::count::Counts;
use linktide_common::dimension::OTHER;
use linktide_common::problem::{Problem, ProblemKind};

use super::spec::{Of, Spec};
use crate::answer::{At, Needs};
use crate::freshness::{Away, Basis};
use crate::merge;
use crate::envelope::instant;
use crate::state::Query;

/// Rows of a batch.
const ROWS: usize = 8192;

/// The columns of an export of a rollup.
pub(super) fn schema(of: Of) -> SchemaRef {
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(match of {
        Of::Clicks | Of::Timeseries => vec![
            text("start", false),
            text("end", false),
            count("clicks"),
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
    query: &Query,
    spec: &Spec,
    at: &At,
    range: Range,
) -> Result<(Vec<RecordBatch>, String), Problem> {
    let (columns, basis) = match spec.of {
        Of::Timeseries | Of::Clicks => timeseries(query, spec, at, range).await?,
        Of::Breakdown => breakdown(query, spec, at, range).await?,
        Of::Links => links(query, spec, at, range).await?,
    };
    whole(&basis)?;
    let rows = RecordBatch::try_new(schema(spec.of), columns)
        .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    let starts = (0..rows.num_rows()).step_by(ROWS);
    let batches = starts.map(|start| rows.slice(start, ROWS.min(rows.num_rows() - start))).collect();
    Ok((batches, basis.as_of().to_string()))
}

fn whole(basis: &Basis) -> Result<(), Problem> {
    let refused = |layer: &str, why: &str| {
        let detail = format!("the {layer} layer does not answer ({why}), and a file would not say that it lacks clicks");
        Err(Problem::new(ProblemKind::NotReady, detail).retry_after(5))
    };
    match (&basis.batch, &basis.speed) {
        (Err(why), _) => refused("batch", why),
        (_, Err(Away::Failed(why))) => refused("speed", why),
        (Ok(()), Ok(_) | Err(Away::NotAsked)) => Ok(()),
    }
}

type Columns = (Vec<ArrayRef>, Basis);

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|value| i64::try_from(value).unwrap_or(i64::MAX))))
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

async fn timeseries(query: &Query, spec: &Spec, at: &At, range: Range) -> Result<Columns, Problem> {
    let zone = &spec.asked.zone;
    let cut = buckets(range, spec.unit, zone)
        .map_err(|error| Problem::parameter("unit", spec.unit.name(), error.to_string()))?;
    let needs = Needs { buckets: cut.iter().map(|bucket| bucket.range).collect(), ..Needs::default() };
    let answer = query.ask(at, spec.subject(), range, &needs).await?;
    let watermark = answer.basis.publication.watermark;
    let (as_of, answered) = (answer.basis.as_of(), answer.basis.answered());
    let counts: Vec<Counts> = cut.iter().map(|bucket| answer.totals.within(bucket.range).sum()).collect();
    let partial = cut.iter().map(|bucket| Some(merge::partial(bucket, watermark, as_of, answered)));
    let columns: Vec<ArrayRef> = vec![
        texts(cut.iter().map(|bucket| Some(instant(bucket.range.start, zone)))),
        texts(cut.iter().map(|bucket| Some(instant(bucket.range.end, zone)))),
        numbers(counts.iter().map(|counts| counts.clicks(spec.asked.traffic))),
        numbers(counts.iter().map(|counts| counts.bots)),
        numbers(counts.iter().map(|counts| counts.previews)),
        Arc::new(partial.collect::<BooleanArray>()),
    ];
    Ok((columns, answer.basis))
}

async fn breakdown(query: &Query, spec: &Spec, at: &At, range: Range) -> Result<Columns, Problem> {
    let needs = Needs { buckets: vec![range], dimensions: spec.by.clone(), ..Needs::default() };
    let answer = query.ask(at, spec.subject(), range, &needs).await?;
    let traffic = spec.asked.traffic;
    let total = answer.totals.within(range).sum().clicks(traffic);
    let mut rows: Vec<(&str, String, u64)> = Vec::new();
    for dimension in &spec.by {
        // As in the answers: what a sender called `(other)` is among the others.
        let of_it = answer.values.iter().filter(|((of, value), _)| of == dimension && **value != *OTHER);
        let counts = of_it.map(|((_, value), counts)| (value.clone(), *counts));
        let (listed, rest) = merge::top(counts, traffic, total, usize::MAX);
        rows.extend(listed.into_iter().map(|listed| (dimension.name(), listed.value.to_string(), listed.clicks)));
        rows.extend((rest > 0).then(|| (dimension.name(), OTHER.to_owned(), rest)));
    }
    let share = rows.iter().map(|(_, _, clicks)| *clicks as f64 / total.max(1) as f64);
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|(dimension, _, _)| Some(dimension))),
        texts(rows.iter().map(|(_, value, _)| Some(value))),
        numbers(rows.iter().map(|(_, _, clicks)| *clicks)),
        Arc::new(Float64Array::from_iter_values(share)),
    ];
    Ok((columns, answer.basis))
}

async fn links(query: &Query, spec: &Spec, at: &At, range: Range) -> Result<Columns, Problem> {
    let answer = query.ask_links(at, spec.tenant, range).await?;
    let mut rows: Vec<_> = answer.links.into_iter().filter(|(_, counts)| !counts.is_zero()).collect();
    let traffic = spec.asked.traffic;
    rows.sort_unstable_by_key(|(link, counts)| (std::cmp::Reverse(counts.clicks(traffic)), *link));
    let labels: Vec<_> = rows.iter().map(|(link, _)| answer.labels.get(link)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(link, _)| link.0))),
        numbers(rows.iter().map(|(_, counts)| counts.clicks(traffic))),
        numbers(rows.iter().map(|(_, counts)| counts.bots)),
        numbers(rows.iter().map(|(_, counts)| counts.previews)),
        texts(labels.iter().map(|label| label.and_then(|label| label.slug.clone()))),
        texts(labels.iter().map(|label| label.and_then(|label| label.title.clone()))),
        texts(labels.iter().map(|label| label.and_then(|label| label.destination.clone()))),
    ];
    Ok((columns, answer.basis))
}
