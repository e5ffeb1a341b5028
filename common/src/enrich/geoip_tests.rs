use mmdb_writer::{Value, Writer};

use super::*;

fn written(path: &Path, kind: &str, epoch: u64, network: &str, record: Value) {
    let mut writer = Writer::builder(kind)
        .description(&[("en", "a database of the tests")])
        .build_epoch(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(epoch))
        .build();
    writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), record).unwrap();
    // Exchanged in one step, as a download should be.
    let beside = path.with_extension("new");
    std::fs::write(&beside, writer.to_bytes().unwrap()).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

fn write(path: &Path, country: &str, epoch: u64) {
    let code = |name: &'static str, value: &str| Value::map([(name, Value::from(value))]);
    let names = Value::map([("en", Value::from("Springfield"))]);
    let record = Value::map([
        ("continent", code("code", "NA")),
        ("country", code("iso_code", country)),
        ("subdivisions", Value::array([code("iso_code", "IL")])),
        ("city", Value::map([("names", names)])),
    ]);
    written(path, "Test-City", epoch, "203.0.113.0/24", record);
}

fn at(ip: &str) -> IpAddr {
    ip.parse().unwrap()
}

#[test]
fn broken_database_leaves_the_old_one_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    let ip = at("203.0.113.77");
    write(&path, "US", 1);
    let geo = GeoIp::open(GeoFiles { city: Some(path.clone()), asn: None }).unwrap();
    assert_eq!(geo.version(), "Test-City@1");
    let found = geo.locate(ip);
    assert_eq!((found.region.as_deref(), found.city.as_deref()), (Some("US-IL"), Some("Springfield, US-IL")));
    assert!(matches!(geo.reload(), Reload::Unchanged));

    let told = || {
        let file = format!("linktide_rules_file_modified_timestamp_seconds{{file=\"{}\"}} ", path.display());
        let all = metrics::render();
        all.lines().find_map(|line| line.strip_prefix(&file)).unwrap().parse::<u64>().unwrap()
    };
    let modified = || {
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let first = modified();
    assert_eq!(told(), first);

    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[..64].fill(0xff);
    let before = metrics::GEOIP_RELOADS_FAILED.get();
    for broken in [b"no database".to_vec(), whole[..whole.len() / 2].to_vec(), Vec::new(), flipped] {
        std::fs::write(&path, broken).unwrap();
        let Reload::Kept(error) = geo.reload() else { panic!("a broken database was taken") };
        assert!(error.to_string().contains("city.mmdb"), "{error}");
        assert!(matches!(geo.reload(), Reload::Unchanged), "a broken database is told once");
        assert_eq!((geo.locate(ip).country.as_deref(), geo.version().as_str()), (Some("US"), "Test-City@1"));
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(geo.reload(), Reload::Kept(_)));
    assert!(metrics::GEOIP_RELOADS_FAILED.get() >= before + 5);

    assert_eq!(told(), first, "what is in use is as old as before");

    write(&path, "CA", 2);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(first - 500))
        .unwrap();
    assert!(matches!(geo.reload(), Reload::Replaced));
    assert_eq!(told(), modified());
    assert_eq!((geo.locate(ip).country.as_deref(), geo.version().as_str()), (Some("CA"), "Test-City@2"));
}

#[test]
fn no_truncation_is_taken_and_no_damage_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    write(&path, "US", 1);
    for whole in [std::fs::read(&path).unwrap(), undescribed()] {
        for length in 0..whole.len() {
            assert!(verified(whole[..length].to_vec()).is_err(), "{length} of {} bytes", whole.len());
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x55;
            // Damage that makes another sound database is taken for one; whatever it says, asking it must not panic.
            if let Ok(reader) = verified(damaged) {
                Loaded::of(Some(reader), None).look_up(at("203.0.113.77"));
            }
        }
    }
}

/// A database as tools other than MaxMind's write it.
fn undescribed() -> Vec<u8> {
    let mut writer = Writer::builder("Test-Flat").build();
    for (network, country) in [("203.0.113.0/24", "US"), ("2001:db8::/32", "DE")] {
        let record = Value::map([("country_code", Value::from(country))]);
        writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), record).unwrap();
    }
    writer.to_bytes().unwrap()
}

#[test]
fn database_without_a_description_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    std::fs::write(&path, undescribed()).unwrap();
    let geo = GeoIp::open(GeoFiles { city: Some(path), asn: None }).unwrap();
    let country = |ip| geo.locate(at(ip)).country.clone();
    assert_eq!((country("203.0.113.1").as_deref(), country("2001:db8::1").as_deref()), (Some("US"), Some("DE")));
}

#[test]
fn addresses_are_looked_up_while_files_are_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    write(&path, "US", 1);
    let geo = GeoIp::open(GeoFiles { city: Some(path.clone()), asn: None }).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(matches!(geo.locate(at("203.0.113.77")).country.as_deref(), Some("US" | "CA")));
            }
        });
        for epoch in 2..50 {
            write(&path, if epoch % 2 == 0 { "CA" } else { "US" }, epoch);
            assert!(!matches!(geo.reload(), Reload::Kept(_)));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn networks_come_from_a_database_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (city, asn) = (folder.path().join("city.mmdb"), folder.path().join("asn.mmdb"));
    write(&city, "US", 1);
    let record = Value::map([
        ("autonomous_system_number", Value::from(64_500_u32)),
        ("autonomous_system_organization", Value::from("Harbour Networks")),
    ]);
    written(&asn, "Test-ASN", 3, "203.0.0.0/16", record);
    let both = GeoIp::open(GeoFiles { city: Some(city), asn: Some(asn.clone()) }).unwrap();
    let found = both.locate(at("203.0.113.77"));
    assert_eq!((found.country.as_deref(), found.asn, found.pending.as_deref()), (Some("US"), Some(64_500), None));
    let found = both.locate(at("203.0.7.7"));
    assert_eq!((found.country.as_deref(), found.network_owner.as_deref()), (None, Some("Harbour Networks")));
    assert_eq!(both.version(), "Test-City@1+Test-ASN@3");

    let alone = GeoIp::open(GeoFiles { city: None, asn: Some(asn) }).unwrap();
    let found = alone.locate(at("203.0.113.77"));
    assert_eq!((found.asn, found.pending.as_deref()), (Some(64_500), Some("203.0.113.0/24")));
}

#[test]
fn address_of_no_place_is_not_pending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    write(&path, "US", 1);
    let geo = GeoIp::open(GeoFiles { city: Some(path), asn: None }).unwrap();
    assert_eq!(geo.locate(at("::ffff:203.0.113.77")).country.as_deref(), Some("US"));
    for ip in ["198.51.100.1", "2001:db8::1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "fe80::1", "fd00::1", "::1"] {
        assert_eq!(*geo.locate(at(ip)), Geo::default(), "{ip}");
    }
}

#[test]
fn without_a_database_the_network_waits_for_one() {
    let geo = GeoIp::open(GeoFiles::default()).unwrap();
    assert_eq!(geo.locate(at("203.0.113.77")).pending.as_deref(), Some("203.0.113.0/24"));
    assert_eq!(geo.locate(at("2001:db8:1:2::3")).pending.as_deref(), Some("2001:db8:1::/48"));
    assert_eq!(geo.locate(at("192.168.1.7")).pending, None);
    assert_eq!(geo.version(), "");
    let Err(error) = GeoIp::open(GeoFiles { city: Some("/nowhere.mmdb".into()), asn: None }) else {
        panic!("a missing database was opened")
    };
    assert!(error.to_string().contains("/nowhere.mmdb"), "{error}");
}
