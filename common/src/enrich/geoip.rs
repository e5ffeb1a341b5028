//! Where an address is, from any MaxMind-format database.
//!
//! A file is read whole and verified before it takes the old one's place: a broken or half-written one changes nothing. It is never mapped into
//! memory, because a map of a file that changes is undefined behaviour.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use maxminddb::Reader;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde::Deserialize;

use super::{Geo, Text, privacy};
use crate::metrics;

const CACHED: usize = 1 << 16;

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("GeoIP database {path}: {reason}")]
pub struct GeoError {
    path: String,
    reason: String,
}

/// Which databases to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoFiles {
    /// Countries and cities.
    pub city: Option<PathBuf>,
    /// Autonomous systems.
    pub asn: Option<PathBuf>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Reload {
    /// They are the ones in use.
    Unchanged,
    /// Newer ones took their place.
    Replaced,
    /// A newer one cannot be used; the old ones stay.
    Kept(GeoError),
}

pub(super) struct GeoIp {
    files: GeoFiles,
    loaded: ArcSwapOption<Loaded>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

type Stamp = (SystemTime, u64);

struct Loaded {
    city: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
    cache: Cache<IpAddr, Arc<Geo>>,
}

/// The parts of GeoIP2's city schema that are asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CityRecord<'a> {
    #[serde(borrow)]
    continent: Code<'a>,
    #[serde(borrow)]
    country: Code<'a>,
    #[serde(borrow)]
    subdivisions: Vec<Code<'a>>,
    #[serde(borrow)]
    city: Named<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Code<'a> {
    code: Option<&'a str>,
    iso_code: Option<&'a str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AsnRecord<'a> {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

impl GeoIp {
    pub(super) fn open(files: GeoFiles) -> Result<Self, GeoError> {
        let geo = Self { files, loaded: ArcSwapOption::empty(), seen: Mutex::new(Vec::new()) };
        if geo.files != GeoFiles::default() {
            *geo.seen.lock() = geo.stamps();
            geo.loaded.store(Some(Arc::new(geo.load()?)));
        }
        Ok(geo)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        [&self.files.city, &self.files.asn].into_iter().map(|path| path.as_ref().and_then(stamp)).collect()
    }

    fn load(&self) -> Result<Loaded, GeoError> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(open_verified).transpose();
        Ok(Loaded { city: open(&self.files.city)?, asn: open(&self.files.asn)?, cache: Cache::new(CACHED) })
    }

    /// Looks whether the files changed since the last look, and takes them if they are sound.
    pub(super) fn reload(&self) -> Reload {
        let stamps = self.stamps();
        let mut seen = self.seen.lock();
        if *seen == stamps {
            return Reload::Unchanged;
        }
        *seen = stamps;
        match self.load() {
            Ok(loaded) => {
                self.loaded.store(Some(Arc::new(loaded)));
                Reload::Replaced
            }
            Err(error) => {
                metrics::GEOIP_RELOADS_FAILED.inc();
                Reload::Kept(error)
            }
        }
    }

    /// Where an address is; without a database, the network to look up later.
    pub(super) fn locate(&self, ip: IpAddr) -> Arc<Geo> {
        let loaded = self.loaded.load();
        let Some(loaded) = loaded.as_ref() else {
            let pending = (!is_local(ip)).then(|| privacy::network_of(ip).into());
            return Arc::new(Geo { pending, ..Geo::default() });
        };
        if let Some(geo) = loaded.cache.get(&ip) {
            return geo;
        }
        let geo = Arc::new(loaded.look_up(ip));
        loaded.cache.insert(ip, Arc::clone(&geo));
        geo
    }

    /// Which databases are in use, by their kind and the second they were built.
    pub(super) fn version(&self) -> String {
        let loaded = self.loaded.load();
        let named =
            |reader: &Reader<Vec<u8>>| format!("{}@{}", reader.metadata().database_type, reader.metadata().build_epoch);
        let readers = loaded.as_ref().map(|loaded| [&loaded.city, &loaded.asn]);
        readers.into_iter().flatten().flatten().map(named).collect::<Vec<_>>().join("+")
    }
}

impl Loaded {
    /// A record that does not fit the schema says nothing; it does not cost the click.
    fn look_up(&self, ip: IpAddr) -> Geo {
        let mut geo = Geo::default();
        if let Some(found) = self.city.as_ref().and_then(|reader| reader.lookup(ip).ok())
            && let Ok(Some(record)) = found.decode::<CityRecord<'_>>()
        {
            let text = |text: Option<&str>| text.map(Text::from);
            geo.continent = text(record.continent.code);
            geo.country = text(record.country.iso_code);
            let part = record.subdivisions.first().and_then(|part| part.iso_code);
            geo.region = record.country.iso_code.zip(part).map(|(country, part)| format!("{country}-{part}").into());
            let within = geo.region.as_deref().or(geo.country.as_deref()).unwrap_or_default();
            geo.city = record.city.names.en.map(|name| format!("{name}, {within}").into());
        }
        if let Some(found) = self.asn.as_ref().and_then(|reader| reader.lookup(ip).ok())
            && let Ok(Some(record)) = found.decode::<AsnRecord<'_>>()
        {
            geo.asn = record.autonomous_system_number;
            geo.network_owner = record.autonomous_system_organization.map(Text::from);
        }
        geo
    }
}

fn open_verified(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let failed =
        |error: maxminddb::MaxMindDbError| GeoError { path: path.display().to_string(), reason: error.to_string() };
    let reader = Reader::open_readfile(path).map_err(failed)?;
    reader.verify().map_err(failed)?;
    Ok(reader)
}

fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use mmdb_writer::{Value, Writer};

    use super::*;

    fn write(path: &Path, country: &str, epoch: u64) {
        let mut writer = Writer::builder("Test-City")
            .description(&[("en", "cities of the tests")])
            .build_epoch(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(epoch))
            .build();
        let code = |name: &'static str, value: &str| Value::map([(name, Value::from(value))]);
        let names = Value::map([("en", Value::from("Springfield"))]);
        let record = Value::map([
            ("continent", code("code", "NA")),
            ("country", code("iso_code", country)),
            ("subdivisions", Value::array([code("iso_code", "IL")])),
            ("city", Value::map([("names", names)])),
        ]);
        writer.insert_value("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap(), record).unwrap();
        std::fs::write(path, writer.to_bytes().unwrap()).unwrap();
    }

    #[test]
    fn broken_database_leaves_the_old_one_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("city.mmdb");
        let ip: IpAddr = "203.0.113.77".parse().unwrap();
        write(&path, "US", 1);
        let geo = GeoIp::open(GeoFiles { city: Some(path.clone()), asn: None }).unwrap();
        assert_eq!(geo.version(), "Test-City@1");
        let found = geo.locate(ip);
        assert_eq!((found.region.as_deref(), found.city.as_deref()), (Some("US-IL"), Some("Springfield, US-IL")));
        assert!(matches!(geo.reload(), Reload::Unchanged));

        let whole = std::fs::read(&path).unwrap();
        for broken in [b"no database".to_vec(), whole[..whole.len() / 2].to_vec(), Vec::new()] {
            std::fs::write(&path, broken).unwrap();
            let Reload::Kept(error) = geo.reload() else { panic!("a broken database was taken") };
            assert!(error.to_string().contains("city.mmdb"), "{error}");
            assert_eq!(geo.locate(ip).country.as_deref(), Some("US"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(geo.reload(), Reload::Kept(_)));

        write(&path, "CA", 2);
        assert!(matches!(geo.reload(), Reload::Replaced));
        assert_eq!(geo.locate(ip).country.as_deref(), Some("CA"));
    }

    #[test]
    fn without_a_database_the_network_waits_for_one() {
        let geo = GeoIp::open(GeoFiles::default()).unwrap();
        assert_eq!(geo.locate("203.0.113.77".parse().unwrap()).pending.as_deref(), Some("203.0.113.0/24"));
        assert_eq!(geo.locate("192.168.1.7".parse().unwrap()).pending, None);
        assert!(GeoIp::open(GeoFiles { city: Some("/nowhere.mmdb".into()), asn: None }).is_err());
    }
}
