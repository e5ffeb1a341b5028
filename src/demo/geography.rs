//! The demo's map: real cities behind addresses that nobody has.
//!
//! No GeoIP database may be shipped, so the demo writes a small one of its own. Its networks lie in 240.0.0.0/4, which
//! was never given to anyone: no real person is placed anywhere by it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context as _;
use mmdb_writer::{Value, Writer};

/// A city visitors come from.
#[derive(Debug)]
pub struct City {
    /// Two-letter continent code.
    pub continent: &'static str,
    /// ISO 3166-1 alpha-2 code.
    pub country: &'static str,
    /// Second part of the ISO 3166-2 code.
    pub region: &'static str,
    /// Its name in English.
    pub name: &'static str,
    /// What browsers there ask for first.
    pub language: &'static str,
    /// Hours its clocks are ahead of UTC, about: evenings are busier than nights.
    pub utc_offset: i32,
    /// How many visitors it has, relative to the others.
    pub weight: u32,
}

const fn city(
    place: (&'static str, &'static str, &'static str),
    name: &'static str,
    language: &'static str,
    utc_offset: i32,
    weight: u32,
) -> City {
    City { continent: place.0, country: place.1, region: place.2, name, language, utc_offset, weight }
}

/// All of them.
pub const CITIES: &[City] = &[
    city(("NA", "US", "NY"), "New York", "en-US,en;q=0.9", -5, 95),
    city(("NA", "US", "CA"), "Los Angeles", "en-US,en;q=0.9,es;q=0.6", -8, 70),
    city(("NA", "US", "CA"), "San Francisco", "en-US,en;q=0.9", -8, 60),
    city(("NA", "US", "TX"), "Austin", "en-US,en;q=0.9", -6, 38),
    city(("NA", "US", "IL"), "Chicago", "en-US,en;q=0.9", -6, 42),
    city(("NA", "CA", "ON"), "Toronto", "en-CA,en;q=0.9,fr-CA;q=0.5", -5, 30),
    city(("NA", "CA", "NL"), "St. John's", "en-CA,en;q=0.9", -3, 4),
    city(("NA", "MX", "CMX"), "Mexico City", "es-MX,es;q=0.9", -6, 24),
    city(("SA", "BR", "SP"), "São Paulo", "pt-BR,pt;q=0.9,en;q=0.6", -3, 48),
    city(("SA", "BR", "RJ"), "Rio de Janeiro", "pt-BR,pt;q=0.9", -3, 18),
    city(("SA", "AR", "C"), "Buenos Aires", "es-AR,es;q=0.9", -3, 12),
    city(("SA", "CO", "DC"), "Bogotá", "es-CO,es;q=0.9", -5, 9),
    city(("EU", "GB", "ENG"), "London", "en-GB,en;q=0.9", 0, 72),
    city(("EU", "GB", "SCT"), "Edinburgh", "en-GB,en;q=0.9", 0, 9),
    city(("EU", "IE", "L"), "Dublin", "en-IE,en;q=0.9", 0, 11),
    city(("EU", "DE", "BE"), "Berlin", "de-DE,de;q=0.9,en;q=0.7", 1, 50),
    city(("EU", "DE", "BY"), "Munich", "de-DE,de;q=0.9,en;q=0.7", 1, 33),
    city(("EU", "AT", "9"), "Vienna", "de-AT,de;q=0.9", 1, 12),
    city(("EU", "FR", "IDF"), "Paris", "fr-FR,fr;q=0.9,en;q=0.6", 1, 46),
    city(("EU", "ES", "MD"), "Madrid", "es-ES,es;q=0.9", 1, 24),
    city(("EU", "IT", "RM"), "Rome", "it-IT,it;q=0.9", 1, 20),
    city(("EU", "NL", "NH"), "Amsterdam", "nl-NL,nl;q=0.9,en;q=0.8", 1, 22),
    city(("EU", "SE", "AB"), "Stockholm", "sv-SE,sv;q=0.9,en;q=0.8", 1, 14),
    city(("EU", "PL", "14"), "Warsaw", "pl-PL,pl;q=0.9", 1, 18),
    city(("EU", "UA", "30"), "Kyiv", "uk-UA,uk;q=0.9,en;q=0.5", 2, 12),
    city(("AS", "TR", "34"), "Istanbul", "tr-TR,tr;q=0.9", 3, 19),
    city(("AS", "IN", "MH"), "Mumbai", "en-IN,en;q=0.9,hi;q=0.7", 5, 58),
    city(("AS", "IN", "KA"), "Bengaluru", "en-IN,en;q=0.9,kn;q=0.4", 5, 44),
    city(("AS", "NP", "P3"), "Kathmandu", "ne-NP,ne;q=0.9,en;q=0.7", 6, 3),
    city(("AS", "SG", "01"), "Singapore", "en-SG,en;q=0.9,zh;q=0.6", 8, 16),
    city(("AS", "ID", "JK"), "Jakarta", "id-ID,id;q=0.9", 7, 26),
    city(("AS", "JP", "13"), "Tokyo", "ja-JP,ja;q=0.9,en;q=0.4", 9, 40),
    city(("AS", "KR", "11"), "Seoul", "ko-KR,ko;q=0.9", 9, 22),
    city(("AF", "NG", "LA"), "Lagos", "en-NG,en;q=0.9", 1, 15),
    city(("AF", "ZA", "GP"), "Johannesburg", "en-ZA,en;q=0.9", 2, 11),
    city(("AF", "EG", "C"), "Cairo", "ar-EG,ar;q=0.9", 2, 10),
    city(("OC", "AU", "NSW"), "Sydney", "en-AU,en;q=0.9", 10, 24),
    city(("OC", "NZ", "AUK"), "Auckland", "en-NZ,en;q=0.9", 12, 6),
];

/// Address number `host` of the city at `index` in [`CITIES`].
#[must_use]
pub fn address(index: usize, host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(240, octet(index), high, low))
}

fn octet(index: usize) -> u8 {
    u8::try_from(index).expect("there are fewer than 256 cities")
}

/// Writes the GeoIP database that knows every address of [`address`].
///
/// # Errors
/// Where the file cannot be written.
pub fn write_database(path: &Path) -> anyhow::Result<()> {
    let mut writer =
        Writer::builder("Linktide-Demo-City").description(&[("en", "cities behind addresses that nobody has")]).build();
    for (index, city) in CITIES.iter().enumerate() {
        let named = |name: &str| Value::map([("en", Value::from(name))]);
        let code = |name: &'static str, value: &str| Value::map([(name, Value::from(value))]);
        let record = Value::map([
            ("continent", code("code", city.continent)),
            ("country", code("iso_code", city.country)),
            ("subdivisions", Value::array([code("iso_code", city.region)])),
            ("city", Value::map([("names", named(city.name))])),
        ]);
        let network = format!("240.{}.0.0/16", octet(index)).parse::<ipnet::IpNet>()?;
        writer.insert_value(network, record)?;
    }
    std::fs::write(path, writer.to_bytes()?).with_context(|| format!("writing the demo's map to {}", path.display()))
}
