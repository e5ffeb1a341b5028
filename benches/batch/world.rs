//! What both benchmarks work on: clicks of the generator on 100,000 links, by 20,000 user agents, from known cities.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use linktide::demo::generator::{Generator, World};
use linktide::demo::geography;
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::copies::CopyWindow;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, VisitorIdentity};
use linktide_common::intake::Intake;
use linktide_common::log::{Append, LogReader};
use linktide_common::secret::Secret;

const CITIES: &str = "cities.mmdb";

pub(crate) fn generator() -> Generator {
    Generator::new(1, World { links: 100_000, user_agents: 20_000, ..World::default() })
}

/// Clicks of an hour as the log has them.
pub(crate) fn records(generator: &mut Generator, hour: Hour, count: usize) -> Vec<Append> {
    let record = |_| {
        let click = generator.click_in(hour);
        let mut json = Vec::with_capacity(512);
        click.to_json(&mut json);
        Append { key: click.click_id.expect("generated clicks have ids"), payload: Bytes::from(json) }
    };
    (0..count).map(record).collect()
}

pub(crate) fn write_cities(folder: &Path) -> anyhow::Result<()> {
    geography::write_database(&folder.join(CITIES))
}

pub(crate) fn enricher(folder: &Path) -> anyhow::Result<Enricher> {
    Ok(Enricher::new(EnrichConfig {
        salt_secret: Secret::new(vec![7; 32]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles { city: Some(folder.join(CITIES)), asn: None },
        floor_days: 3653,
    })?)
}

/// What the archive reads.
pub(crate) fn intake(reader: impl LogReader + 'static, folder: &Path, clock: Clock) -> anyhow::Result<Intake> {
    let enricher = Arc::new(enricher(folder)?);
    Ok(Intake::new("archive", Box::new(reader), enricher, clock, CopyWindow::DEFAULT_REACH))
}
