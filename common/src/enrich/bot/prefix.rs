//! Which networks an address lies in: a table of prefixes that answers in a few dozen nanoseconds.
//!
//! Prefixes may overlap. Within one list the longest one that holds an address decides, so that a part of a listed network
//! can be taken out of it; of several lists the strongest mark counts, whichever prefix is longer. All of this is decided
//! when the table is made: what is kept are the borders at which the answer changes, in order, and an index over their
//! leading bits. A lookup is one step in the index and a search between a few borders.
//!
//! An IPv4 address mapped into IPv6 is the IPv4 address. A border takes 6 bytes of IPv4 and 18 of IPv6, and a prefix
//! makes at most two.

use std::net::IpAddr;

/// What a list says of a network: the list and its points, packed so that tables of millions stay small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u16);

impl Mark {
    /// Nothing is said.
    pub(super) const NONE: Self = Self(0);
    /// The most lists there can be.
    pub(super) const LISTS: usize = 254;
    /// Stands for a network that is trusted.
    const TRUSTED: u8 = 255;

    /// So many points by a list.
    pub(super) fn of(list: u8, points: u8) -> Self {
        Self(u16::from(points) << 8 | u16::from(list))
    }

    /// Whatever other lists say, nothing is held against the network.
    pub(super) const fn trusted() -> Self {
        Self((Self::TRUSTED as u16) << 8)
    }

    pub(super) fn is_trusted(self) -> bool {
        self.points() == Self::TRUSTED
    }

    pub(super) fn list(self) -> usize {
        usize::from(self.0 & 0xff)
    }

    pub(super) fn points(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// The one that counts of two: trust before all, then more points, then the list named first.
    fn or(self, other: Self) -> Self {
        if other.points() > self.points() || other.points() == self.points() && other.list() < self.list() {
            other
        } else {
            self
        }
    }
}

/// A network: the first address it has, and how many leading bits all of its addresses share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    V4(u32, u8),
    V6(u128, u8),
}

impl Network {
    /// Reads `203.0.113.0/24`, `2001:db8::/32`, or a single address.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network; write 203.0.113.0/24, 2001:db8::/32 or an address");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => whole,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse::<u8>().ok().filter(|length| *length <= whole).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        let network = match address {
            IpAddr::V4(address) => Self::V4(address.to_bits(), length),
            IpAddr::V6(address) => match (address.to_ipv4_mapped(), length.checked_sub(96)) {
                (Some(address), Some(length)) => Self::V4(address.to_bits(), length),
                _ => Self::V6(address.to_bits(), length),
            },
        };
        let behind = match network {
            Self::V4(first, length) => u128::from(first & !u32::mask(length)),
            Self::V6(first, length) => first & !u128::mask(length),
        };
        if behind != 0 {
            return Err(format!(
                "`{text}` names a host within its network; write the network's first address, or the host alone"
            ));
        }
        Ok(network)
    }
}

/// An address as a number.
trait Bits: Copy + Ord {
    const COUNT: u32;
    /// All leading bits that a network's addresses share.
    fn mask(length: u8) -> Self;
    fn last_of(self, length: u8) -> Self;
    fn successor(self) -> Option<Self>;
    /// How far behind `base`, in steps of 2^`shift`.
    fn steps(self, base: Self, shift: u32) -> usize;
}

macro_rules! bits {
    ($($number:ty),*) => {$(
        impl Bits for $number {
            const COUNT: u32 = <$number>::BITS;

            fn mask(length: u8) -> Self {
                <$number>::MAX.checked_shl(Self::COUNT - u32::from(length)).unwrap_or(0)
            }

            fn last_of(self, length: u8) -> Self {
                self | !Self::mask(length)
            }

            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn steps(self, base: Self, shift: u32) -> usize {
                usize::try_from((self - base) >> shift).unwrap_or(usize::MAX)
            }
        }
    )*};
}

bits!(u32, u128);

/// The prefixes of one list, before they are a table.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    v4: Vec<(u32, u8, Mark)>,
    v6: Vec<(u128, u8, Mark)>,
}

impl Prefixes {
    /// Adds a network; of one that is there twice, the later mark counts.
    pub(super) fn add(&mut self, network: Network, mark: Mark) {
        match network {
            Network::V4(first, length) => self.v4.push((first, length, mark)),
            Network::V6(first, length) => self.v6.push((first, length, mark)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// The table of all lists.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: Borders<u32>,
    v6: Borders<u128>,
}

impl Table {
    pub(super) fn of(lists: impl IntoIterator<Item = Prefixes>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for list in lists {
            v4 = merge(v4, flatten(list.v4));
            v6 = merge(v6, flatten(list.v6));
        }
        Self { v4: Borders::of(v4), v6: Borders::of(v6) }
    }

    /// The mark of an address.
    pub(super) fn find(&self, ip: IpAddr) -> Mark {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        }
    }
}

/// The borders at which one list's answer changes.
fn flatten<A: Bits>(mut prefixes: Vec<(A, u8, Mark)>) -> Vec<(A, Mark)> {
    // Stable: the later of two equal ones comes later, and replaces the earlier.
    prefixes.sort_by_key(|(first, length, _)| (*first, *length));
    let mut borders = Vec::with_capacity(prefixes.len());
    // The networks that hold the place reached, the smallest last.
    let mut open: Vec<(A, Mark)> = Vec::new();
    for (first, length, mark) in prefixes {
        while open.last().is_some_and(|(last, _)| *last < first) {
            close(&mut open, &mut borders);
        }
        border(&mut borders, first, mark);
        open.push((first.last_of(length), mark));
    }
    while !open.is_empty() {
        close(&mut open, &mut borders);
    }
    borders
}

/// Ends the smallest open network: from behind its last address on, the one around it counts.
fn close<A: Bits>(open: &mut Vec<(A, Mark)>, borders: &mut Vec<(A, Mark)>) {
    if let Some((last, _)) = open.pop()
        && let Some(next) = last.successor()
    {
        border(borders, next, open.last().map_or(Mark::NONE, |(_, mark)| *mark));
    }
}

fn border<A: Bits>(borders: &mut Vec<(A, Mark)>, at: A, mark: Mark) {
    if borders.last().is_some_and(|(last, _)| *last == at) {
        borders.pop();
    }
    if borders.last().map_or(Mark::NONE, |(_, before)| *before) != mark {
        borders.push((at, mark));
    }
}

/// The borders of two lists together.
fn merge<A: Bits>(one: Vec<(A, Mark)>, other: Vec<(A, Mark)>) -> Vec<(A, Mark)> {
    if one.is_empty() {
        return other;
    }
    let mut borders = Vec::with_capacity(one.len() + other.len());
    let (mut marks, mut next) = ([Mark::NONE; 2], [0, 0]);
    loop {
        let heads = [one.get(next[0]), other.get(next[1])];
        let Some(at) = heads.iter().flatten().map(|(at, _)| *at).min() else { return borders };
        for side in 0..2 {
            if let Some((_, mark)) = heads[side].filter(|(head, _)| *head == at) {
                (marks[side], next[side]) = (*mark, next[side] + 1);
            }
        }
        border(&mut borders, at, marks[0].or(marks[1]));
    }
}

/// Bits of the index at most: 65,536 places of 4 bytes.
const INDEX_BITS: u32 = 16;

/// Borders in order, with what holds from each on.
#[derive(Debug)]
struct Borders<A> {
    starts: Box<[A]>,
    marks: Box<[Mark]>,
    /// How many borders lie before each step of 2^`shift` behind the first border.
    index: Box<[u32]>,
    shift: u32,
}

impl<A> Default for Borders<A> {
    fn default() -> Self {
        Self { starts: Box::default(), marks: Box::default(), index: Box::default(), shift: 0 }
    }
}

impl<A: Bits> Borders<A> {
    fn of(borders: Vec<(A, Mark)>) -> Self {
        let (Some((first, _)), Some((last, _))) = (borders.first(), borders.last()) else { return Self::default() };
        let places = borders.len().next_power_of_two().min(1 << INDEX_BITS);
        let shift = (0..A::COUNT).find(|shift| last.steps(*first, *shift) < places).unwrap_or_default();
        let mut index = vec![0_u32; last.steps(*first, shift) + 2];
        for (at, _) in &borders {
            index[at.steps(*first, shift) + 1] += 1;
        }
        for place in 1..index.len() {
            index[place] += index[place - 1];
        }
        let starts = borders.iter().map(|(at, _)| *at).collect();
        let marks = borders.iter().map(|(_, mark)| *mark).collect();
        Self { starts, marks, index: index.into(), shift }
    }

    fn find(&self, address: A) -> Mark {
        let Some(first) = self.starts.first().filter(|first| **first <= address) else { return Mark::NONE };
        let place = address.steps(*first, self.shift).min(self.index.len() - 2);
        let (from, to) = (self.index[place] as usize, self.index[place + 1] as usize);
        // The first border is at the first step's begin, so one before always exists.
        let before = from + self.starts[from..to].partition_point(|start| *start <= address);
        self.marks[before - 1]
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn table(lists: &[&[(&str, Mark)]]) -> Table {
        let list = |list: &&[(&str, Mark)]| {
            let mut prefixes = Prefixes::default();
            for (network, mark) in *list {
                prefixes.add(Network::parse(network).unwrap(), *mark);
            }
            prefixes
        };
        Table::of(lists.iter().map(list))
    }

    fn at(table: &Table, ip: &str) -> Mark {
        table.find(ip.parse().unwrap())
    }

    #[test]
    fn longest_prefix_of_a_list_decides_and_the_strongest_of_lists() {
        let [low, high] = [Mark::of(0, 40), Mark::of(1, 100)];
        let cloud: &[_] =
            &[("10.0.0.0/8", low), ("10.1.0.0/16", Mark::NONE), ("10.1.2.0/24", low), ("2001:db8::/32", low)];
        let blocked: &[_] = &[("10.0.0.0/24", high), ("10.1.2.3", high), ("::ffff:192.0.2.0/120", high)];
        let trusted: &[_] = &[("10.1.2.3/32", Mark::trusted()), ("2001:db8:1::/48", Mark::trusted())];
        let table = table(&[cloud, blocked, trusted]);
        for (ip, mark) in [
            ("9.255.255.255", Mark::NONE),
            ("10.0.0.0", high),
            ("10.0.0.255", high),
            ("10.0.1.0", low),
            ("10.1.0.0", Mark::NONE),
            ("10.1.2.0", low),
            ("10.1.2.3", Mark::trusted()),
            ("10.1.2.4", low),
            ("10.1.3.0", Mark::NONE),
            ("10.255.255.255", low),
            ("11.0.0.0", Mark::NONE),
            ("192.0.2.9", high),
            ("::ffff:10.0.1.0", low),
            ("2001:db8::", low),
            ("2001:db8:1::9", Mark::trusted()),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", low),
            ("2001:db9::", Mark::NONE),
            ("::", Mark::NONE),
        ] {
            assert_eq!(at(&table, ip), mark, "{ip}");
        }
    }

    #[test]
    fn whole_of_the_internet_and_its_ends_can_be_listed() {
        let mark = Mark::of(3, 7);
        let table = table(&[&[("0.0.0.0/0", mark), ("255.255.255.255", Mark::NONE), ("::/0", mark)]]);
        assert_eq!(
            [at(&table, "0.0.0.0"), at(&table, "255.255.255.254"), at(&table, "255.255.255.255")],
            [mark, mark, Mark::NONE]
        );
        assert_eq!([at(&table, "::"), at(&table, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")], [mark; 2]);
        assert_eq!(at(&Table::default(), "0.0.0.0"), Mark::NONE);
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8", "example"] {
            assert!(Network::parse(text).unwrap_err().contains("no network"), "{text}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "::ffff:10.0.0.1/104"] {
            assert!(Network::parse(text).unwrap_err().contains("names a host"), "{text}");
        }
    }

    fn prefix() -> impl Strategy<Value = (bool, u128, u8, u8, u8)> {
        // Few addresses, so that prefixes meet.
        (any::<bool>(), prop::collection::vec(0..4u8, 16), 0..=32u8, 0..4u8, 0..3u8).prop_map(
            |(v4, bytes, length, points, list)| {
                let bits = u128::from_be_bytes(bytes.try_into().unwrap());
                (v4, bits, length, points, list)
            },
        )
    }

    proptest! {
        #[test]
        fn table_says_what_every_prefix_held_against_the_address_says(
            prefixes in prop::collection::vec(prefix(), 0..60), asked in prop::collection::vec(prefix(), 40),
        ) {
            let network = |(v4, bits, length, ..): &(bool, u128, u8, u8, u8)| {
                if *v4 {
                    let first = u32::try_from(bits >> 96).unwrap() & u32::mask(*length);
                    Network::V4(first, *length)
                } else {
                    Network::V6(bits & u128::mask(*length), *length)
                }
            };
            let mut lists: [Prefixes; 3] = Default::default();
            for prefix in &prefixes {
                lists[usize::from(prefix.4)].add(network(prefix), Mark::of(prefix.4, prefix.3));
            }
            let table = Table::of(lists);
            for (v4, bits, ..) in &asked {
                let v4bits = u32::try_from(bits >> 96).unwrap();
                let of_list = |list: u8| {
                    let holds = |prefix: &&(bool, u128, u8, u8, u8)| {
                        prefix.4 == list && match network(prefix) {
                            Network::V4(first, length) => *v4 && v4bits & u32::mask(length) == first,
                            Network::V6(first, length) => !*v4 && bits & u128::mask(length) == first,
                        }
                    };
                    // The last of the longest.
                    prefixes.iter().filter(holds).max_by_key(|prefix| prefix.2).map_or(0, |prefix| prefix.3)
                };
                let strongest = (0..3).map(of_list).max().unwrap();
                let ip = if *v4 { Ipv4Addr::from_bits(v4bits).into() } else { Ipv6Addr::from_bits(*bits).into() };
                // A mapped address is IPv4's.
                if *v4 || Ipv6Addr::from_bits(*bits).to_ipv4_mapped().is_none() {
                    prop_assert_eq!(table.find(ip).points(), strongest);
                }
            }
        }
    }
}
