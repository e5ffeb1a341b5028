//! Where an address is, from any MaxMind-format database.
//!
//! A file is read whole and verified before it takes the old one's place: a broken or half-written one changes nothing.
//! It is never mapped into memory, because a map of a file that changes is undefined behaviour. Who is looking an address
//! up while files are exchanged finishes with the ones he began with.
//!
//! An address that no database could be asked about keeps its network, so that it can be looked up later. One that a
//! database does not know, and one of a private network, is of no place at all.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use rustc_hash::FxHashSet;

use super::place::Record;
use super::{Geo, Reload, privacy};
use crate::metrics;

/// Addresses whose answer is kept.
const CACHED: usize = 1 << 17;
/// Places whose texts are kept.
const CACHED_PLACES: usize = 1 << 16;

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

pub(super) struct GeoIp {
    files: GeoFiles,
    loaded: ArcSwap<Loaded>,
    seen: Mutex<Seen>,
}

/// What the files looked like at the last look, by which a change is noticed.
type Seen = [Option<(SystemTime, u64)>; 2];

/// One generation of databases with the answers they gave.
struct Loaded {
    city: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
    addresses: Cache<IpAddr, Arc<Geo>>,
    /// By the offsets of the records: far fewer than addresses, and all addresses of one share its texts.
    places: Cache<[Option<usize>; 2], Arc<Geo>>,
}

impl GeoIp {
    pub(super) fn open(files: GeoFiles) -> Result<Self, GeoError> {
        LazyLock::force(&metrics::GEOIP_RELOADS_FAILED);
        let seen = look(&files);
        let loaded = ArcSwap::from_pointee(load(&files)?);
        tell(&files, &seen);
        Ok(Self { files, loaded, seen: Mutex::new(seen) })
    }

    /// Looks whether the files changed since the last look, and takes them if they are sound. Reads and verifies whole
    /// files where they did: call it where that may take a second.
    pub(super) fn reload(&self) -> Reload {
        let mut seen = self.seen.lock();
        let before = look(&self.files);
        if *seen == before {
            return Reload::Unchanged;
        }
        let loaded = load(&self.files);
        // A file that changed while it was read is looked at again next time, whatever came of it now.
        let after = look(&self.files);
        if after == before {
            *seen = after;
        }
        match loaded {
            Ok(loaded) if after == before => {
                self.loaded.store(Arc::new(loaded));
                tell(&self.files, &before);
                Reload::Replaced
            }
            Ok(_) => Reload::Unchanged,
            Err(error) => {
                metrics::GEOIP_RELOADS_FAILED.inc();
                Reload::Kept(error.into())
            }
        }
    }

    /// Where an address is.
    pub(super) fn locate(&self, ip: IpAddr) -> Arc<Geo> {
        let loaded = self.loaded.load();
        if let Some(geo) = loaded.addresses.get(&ip) {
            return geo;
        }
        let geo = loaded.look_up(ip.to_canonical());
        loaded.addresses.insert(ip, Arc::clone(&geo));
        geo
    }

    /// Whether there is a database of places to ask.
    pub(super) fn knows_places(&self) -> bool {
        self.loaded.load().city.is_some()
    }

    /// Which databases are in use, by their kind and the second they were built.
    pub(super) fn version(&self) -> String {
        let loaded = self.loaded.load();
        let named =
            |reader: &Reader<Vec<u8>>| format!("{}@{}", reader.metadata().database_type, reader.metadata().build_epoch);
        [&loaded.city, &loaded.asn].into_iter().flatten().map(named).collect::<Vec<_>>().join("+")
    }
}

impl Loaded {
    fn of(city: Option<Reader<Vec<u8>>>, asn: Option<Reader<Vec<u8>>>) -> Self {
        Self { city, asn, addresses: Cache::new(CACHED), places: Cache::new(CACHED_PLACES) }
    }

    fn look_up(&self, ip: IpAddr) -> Arc<Geo> {
        if is_local(ip) {
            return Arc::default();
        }
        let found = [ask(self.city.as_ref(), ip), ask(self.asn.as_ref(), ip)];
        let place = [&found[0], &found[1]].map(|found| found.as_ref().and_then(LookupResult::offset));
        let geo = self.places.get(&place).unwrap_or_else(|| {
            let geo = Arc::new(describe(&found));
            self.places.insert(place, Arc::clone(&geo));
            geo
        });
        if self.city.is_some() {
            return geo;
        }
        Arc::new(Geo { pending: Some(privacy::network_of(ip).into()), ..Geo::clone(&geo) })
    }
}

type Found<'a> = LookupResult<'a, Vec<u8>>;

/// The record of an address. A verified database fails only where it knows no IPv6 at all: then it knows no such address.
fn ask(reader: Option<&Reader<Vec<u8>>>, ip: IpAddr) -> Option<Found<'_>> {
    reader.and_then(|reader| reader.lookup(ip).ok())
}

/// What the records say. One that fits no schema says nothing; it does not cost the click.
fn describe(found: &[Option<Found<'_>>; 2]) -> Geo {
    let mut geo = Geo::default();
    for found in found.iter().flatten() {
        if let Ok(Some(record)) = found.decode::<Record<'_>>() {
            record.describe(&mut geo);
        }
    }
    geo
}

fn look(files: &GeoFiles) -> Seen {
    let stamp = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    [&files.city, &files.asn].map(|path| path.as_ref().and_then(stamp))
}

fn tell(files: &GeoFiles, seen: &Seen) {
    for (file, stamp) in [&files.city, &files.asn].into_iter().zip(seen) {
        if let (Some(file), Some((modified, _))) = (file, stamp) {
            metrics::tell_rules_file(file, *modified);
        }
    }
}

fn load(files: &GeoFiles) -> Result<Loaded, GeoError> {
    let open = |path: &Option<PathBuf>| path.as_deref().map(open).transpose();
    Ok(Loaded::of(open(&files.city)?, open(&files.asn)?))
}

fn open(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let read = std::fs::read(path).map_err(MaxMindDbError::from).and_then(verified);
    read.map_err(|error| GeoError { path: path.display().to_string(), reason: error.to_string() })
}

/// A database that can be asked about every address without an error.
fn verified(file: Vec<u8>) -> Result<Reader<Vec<u8>>, MaxMindDbError> {
    let reader = Reader::from_source(file)?;
    let about = reader.metadata();
    // Many tools write neither description nor type, which `verify` insists on before it looks at anything else.
    let described = !about.description.is_empty() && !about.database_type.is_empty();
    if described { reader.verify() } else { verify_records(&reader) }?;
    Ok(reader)
}

/// Walks the whole tree and reads every record once.
fn verify_records(reader: &Reader<Vec<u8>>) -> Result<(), MaxMindDbError> {
    // A sound tree has at most two networks a node; one that runs in a circle would never end.
    let most = u64::from(reader.metadata().node_count) * 3;
    let mut seen = FxHashSet::default();
    for (found, number) in reader.networks(WithinOptions::default().include_networks_without_data())?.zip(0..) {
        let found = found?;
        if number > most {
            return Err(MaxMindDbError::invalid_database("the search tree runs in a circle"));
        }
        if found.offset().is_some_and(|offset| seen.insert(offset)) {
            found.decode::<Record<'_>>()?;
        }
    }
    Ok(())
}

/// Whether an address belongs to no place by its nature: loopback, link-local, private, shared by a provider's customers.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            shared || ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

#[cfg(test)]
#[path = "geoip_tests.rs"]
mod tests;
