//! `located` and `judged`: the rules of today, asked about stored clicks.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, AsArray as _, BooleanArray, Int64Array, StringArray, StructArray};
use deltalake::arrow::datatypes::{DataType, Field, Fields, TimeUnit, TimestampMicrosecondType};
use deltalake::datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use linktide_common::bucket::Timestamp;
use linktide_common::enrich::{Geo, Rules, Text, Verdict};

/// `located(geo_pending)`: the place of a network; `known` where it was looked up, whatever was found.
pub(super) fn located(rules: &Arc<Rules>) -> ScalarUDF {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let fields: Fields = vec![
        Field::new("known", DataType::Boolean, false),
        text("continent"),
        text("country"),
        text("region"),
        text("city"),
        Field::new("asn", DataType::Int64, true),
        text("network_owner"),
    ]
    .into();
    let (rules, answered) = (Arc::clone(rules), fields.clone());
    let locate = move |arguments: &[ColumnarValue]| {
        let networks = ColumnarValue::values_to_arrays(arguments)?;
        let networks = networks[0].as_string::<i32>();
        let places: Vec<Option<Arc<Geo>>> =
            networks.iter().map(|network| network.and_then(|network| rules.locate(network))).collect();
        let geo = || places.iter().map(Option::as_deref);
        let text = |value: fn(&Geo) -> Option<&Text>| {
            Arc::new(geo().map(|geo| geo.and_then(value).map(AsRef::as_ref)).collect::<StringArray>()) as ArrayRef
        };
        let columns = vec![
            Arc::new(geo().map(|geo| Some(geo.is_some())).collect::<BooleanArray>()) as ArrayRef,
            text(|geo| geo.continent.as_ref()),
            text(|geo| geo.country.as_ref()),
            text(|geo| geo.region.as_ref()),
            text(|geo| geo.city.as_ref()),
            Arc::new(geo().map(|geo| geo.and_then(|geo| geo.asn).map(i64::from)).collect::<Int64Array>()),
            text(|geo| geo.network_owner.as_ref()),
        ];
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(answered.clone(), columns, None)?)))
    };
    create_udf("located", vec![DataType::Utf8], DataType::Struct(fields), Volatility::Stable, Arc::new(locate))
}

/// `judged(user_agent, clicked_at, bot_reason)`: what the bot reason becomes, null for a person's, and the kind of device.
pub(super) fn judged(rules: &Arc<Rules>) -> ScalarUDF {
    let fields: Fields =
        vec![Field::new("bot", DataType::Utf8, true), Field::new("device", DataType::Utf8, false)].into();
    let (rules, answered) = (Arc::clone(rules), fields.clone());
    let judge = move |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let (agents, times) =
            (arguments[0].as_string::<i32>(), arguments[1].as_primitive::<TimestampMicrosecondType>());
        let clicks = agents.iter().zip(times).zip(arguments[2].as_string::<i32>());
        let verdicts: Vec<Verdict> =
            clicks.map(|((agent, at), stored)| rules.judge(agent, time(at.unwrap_or_default()), stored)).collect();
        let bots: StringArray = verdicts.iter().map(|verdict| verdict.bot.as_deref()).collect();
        let devices = StringArray::from_iter_values(verdicts.iter().map(|verdict| verdict.device.name()));
        let columns: Vec<ArrayRef> = vec![Arc::new(bots), Arc::new(devices)];
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(answered.clone(), columns, None)?)))
    };
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    create_udf(
        "judged",
        vec![DataType::Utf8, at, DataType::Utf8],
        DataType::Struct(fields),
        Volatility::Stable,
        Arc::new(judge),
    )
}

/// A stored instant; the tables hold no others than clicks had.
fn time(us: i64) -> Timestamp {
    Timestamp::from_millis(us.div_euclid(1000)).unwrap_or(Timestamp::MAX)
}
