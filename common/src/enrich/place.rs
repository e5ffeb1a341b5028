//! What a record of an MMDB file says of a place or a network, whatever its schema.
//!
//! Two kinds of schema are met: GeoIP2's, where a country is a map with a code and names, and flat ones (DB-IP through
//! ip-location-db, IPinfo), where it is a text. A field of another type than either says nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Geo, Text};

/// A record's fields of every schema.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    continent: Named<'a>,
    #[serde(borrow)]
    continent_code: Named<'a>,
    #[serde(borrow)]
    country: Named<'a>,
    #[serde(borrow)]
    country_code: Named<'a>,
    #[serde(borrow)]
    subdivisions: Named<'a>,
    #[serde(borrow)]
    region: Named<'a>,
    #[serde(borrow)]
    region_code: Named<'a>,
    #[serde(borrow)]
    state1: Named<'a>,
    #[serde(borrow)]
    city: Named<'a>,
    #[serde(borrow)]
    autonomous_system_number: Named<'a>,
    #[serde(borrow)]
    asn: Named<'a>,
    #[serde(borrow)]
    autonomous_system_organization: Named<'a>,
    #[serde(borrow)]
    as_name: Named<'a>,
}

impl Record<'_> {
    /// Adds what this record says to `geo`.
    ///
    /// A region is its ISO 3166-2 code (`US-CA`), or its name with the country (`California, US`) where the database has
    /// no code; a city carries its region or country, because a city's name alone names many.
    pub(super) fn describe(&self, geo: &mut Geo) {
        let country = [self.country.code, self.country_code.text, self.country.text].into_iter().find_map(two_letters);
        let continent = [self.continent.code, self.continent_code.text, self.continent.text];
        if let Some(code) = country {
            geo.continent = continent.into_iter().find_map(two_letters).or_else(|| continent_of(code)).map(Text::from);
            geo.country = Some(code.into());
        }
        if let Some(region) = country.and_then(|country| self.region(country)) {
            geo.region = Some(region.into());
        }
        if let Some(city) = self.city.said() {
            let within = geo.region.as_deref().or(geo.country.as_deref());
            geo.city = Some(within.map_or_else(|| city.into(), |within| format!("{city}, {within}").into()));
        }
        if let Some(number) = self.autonomous_system_number.number().or_else(|| self.asn.number()) {
            geo.asn = Some(number);
            let owner = self.autonomous_system_organization.said().or_else(|| self.as_name.said());
            geo.network_owner = owner.map(Text::from);
        }
    }

    fn region(&self, country: &str) -> Option<String> {
        let code = self.subdivisions.code.or(self.region_code.said()).filter(|code| !code.is_empty());
        match code {
            Some(code) if code.contains('-') => Some(code.to_owned()),
            Some(code) => Some(format!("{country}-{code}")),
            None => {
                let name = self.subdivisions.said().or_else(|| self.region.said()).or_else(|| self.state1.said());
                name.map(|name| format!("{name}, {country}"))
            }
        }
    }
}

/// A value with a code, a name, or both: a map of GeoIP2's, the first of a list of such maps, or a bare text or number.
#[derive(Default, Clone, Copy)]
struct Named<'a> {
    code: Option<&'a str>,
    text: Option<&'a str>,
    number: Option<u32>,
}

impl<'a> Named<'a> {
    fn said(&self) -> Option<&'a str> {
        self.text.map(str::trim).filter(|text| !text.is_empty())
    }

    /// A number, or one written as `AS13335`.
    fn number(&self) -> Option<u32> {
        self.number.or_else(|| self.text.and_then(|text| text.strip_prefix("AS").unwrap_or(text).parse().ok()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of any schema")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Named { text: Some(text), ..Named::default() })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Named { number: u32::try_from(number).ok(), ..Named::default() })
    }

    fn visit_u32<E: Error>(self, number: u32) -> Result<Self::Value, E> {
        Ok(Named { number: Some(number), ..Named::default() })
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Named::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut named = Named::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "code" | "iso_code" => named.code = map.next_value::<Named<'de>>()?.said(),
                // The names of a place by language: English, or whichever there is.
                "names" => named.text = map.next_value::<Named<'de>>()?.text,
                "en" | "name" => named.text = map.next_value::<Named<'de>>()?.text,
                _ => {
                    let other = map.next_value::<Named<'de>>()?;
                    named.number = named.number.or(other.number);
                }
            }
        }
        Ok(named)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element::<Named<'de>>()?.unwrap_or_default();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

/// `code` if it is a code of two capital letters and no name.
fn two_letters(code: Option<&str>) -> Option<&str> {
    code.filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// Countries by continent, for databases that name the country alone: ISO 3166-1, as the UN groups them.
const CONTINENTS: &[(&str, &str)] = &[
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CN CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US VC VG VI",
    ),
    ("OC", "AS AU CC CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

fn continent_of(country: &str) -> Option<&'static str> {
    let holds = |countries: &str| countries.split(' ').any(|known| known == country);
    CONTINENTS.iter().find(|(_, countries)| holds(countries)).map(|(continent, _)| *continent)
}

#[cfg(test)]
mod tests {
    use mmdb_writer::{Value, Writer};

    use super::*;

    /// What a database whose only record is `value` says.
    fn described(value: Value) -> Geo {
        let mut writer = Writer::builder("Test").build();
        writer.insert_value("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap(), value).unwrap();
        let reader = maxminddb::Reader::from_source(writer.to_bytes().unwrap()).unwrap();
        let found = reader.lookup("203.0.113.7".parse().unwrap()).unwrap();
        let mut geo = Geo::default();
        found.decode::<Record<'_>>().unwrap().unwrap().describe(&mut geo);
        geo
    }

    fn text(geo: &Geo) -> [Option<&str>; 5] {
        [&geo.continent, &geo.country, &geo.region, &geo.city, &geo.network_owner].map(Option::as_deref)
    }

    fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
        Value::map(entries)
    }

    #[test]
    fn geoip2_schema_is_read() {
        let named = |code: &'static str, name: &str| {
            map([
                ("geoname_id", Value::from(7_u32)),
                ("iso_code", Value::from(code)),
                ("names", map([("de", Value::from("x")), ("en", Value::from(name)), ("fr", Value::from("y"))])),
            ])
        };
        let geo = described(map([
            ("city", map([("geoname_id", Value::from(5_u32)), ("names", map([("en", Value::from("Mountain View"))]))])),
            ("continent", map([("code", Value::from("NA"))])),
            ("country", named("US", "United States")),
            ("location", map([("latitude", Value::from(37.4)), ("time_zone", Value::from("America/Los_Angeles"))])),
            ("registered_country", named("CA", "Canada")),
            ("subdivisions", Value::array([named("CA", "California"), named("X", "Santa Clara")])),
        ]));
        assert_eq!(text(&geo), [Some("NA"), Some("US"), Some("US-CA"), Some("Mountain View, US-CA"), None]);
    }

    #[test]
    fn flat_schemas_are_read() {
        let geo = described(map([
            ("city", Value::from("Mountain View")),
            ("country_code", Value::from("US")),
            ("latitude", Value::from(37.4)),
            ("postcode", Value::from("")),
            ("state1", Value::from("California")),
            ("state2", Value::from("")),
        ]));
        let city = "Mountain View, California, US";
        assert_eq!(text(&geo), [Some("NA"), Some("US"), Some("California, US"), Some(city), None]);

        let geo = described(map([
            ("asn", Value::from("AS64500")),
            ("as_name", Value::from("Harbour Networks")),
            ("continent", Value::from("Europe")),
            ("continent_code", Value::from("EU")),
            ("country", Value::from("Germany")),
            ("country_code", Value::from("DE")),
        ]));
        assert_eq!(text(&geo), [Some("EU"), Some("DE"), None, None, Some("Harbour Networks")]);
        assert_eq!(geo.asn, Some(64_500));
    }

    #[test]
    fn network_schema_is_read() {
        let geo = described(map([
            ("autonomous_system_number", Value::from(64_500_u32)),
            ("autonomous_system_organization", Value::from("Harbour Networks")),
        ]));
        assert_eq!((geo.asn, geo.network_owner.as_deref()), (Some(64_500), Some("Harbour Networks")));
    }

    #[test]
    fn what_is_missing_or_strange_says_nothing() {
        let geo = described(map([
            ("city", map([("names", map([("en", Value::from("Atlantis"))]))])),
            ("country", Value::from(7_u32)),
            ("continent", Value::from(true)),
            ("subdivisions", Value::array([Value::from(1.5)])),
        ]));
        assert_eq!(text(&geo), [None, None, None, Some("Atlantis"), None]);
    }

    #[test]
    fn no_country_lies_on_two_continents() {
        let mut all: Vec<&str> = CONTINENTS.iter().flat_map(|(_, countries)| countries.split(' ')).collect();
        let listed = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), listed);
        assert_eq!([continent_of("US"), continent_of("IN"), continent_of("ZZ")], [Some("NA"), Some("AS"), None]);
    }
}
