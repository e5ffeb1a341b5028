//! A shard's part of a fold as the flush script takes it: MessagePack, in which every number is text, since that is how
//! Redis keeps it.

use std::fmt::Write as _;

use linktide_common::bucket::{Hour, Quarter};
use linktide_common::id::{Epoch, Subject};
use linktide_common::log::Positions;
use linktide_common::repeat::Visits;
use linktide_common::visitors::MOST;
use rmp::encode::{write_array_len, write_nil, write_str, write_str_len, write_uint};

use super::keys::{self, Name, Who};
use crate::fold::{AddressMinute, Dictionary, Fold, FoldCell, ShardFold, Visitors};
use crate::series::Series;

/// Packs the part of one shard: `[places, gaps, cells]`.
pub(super) fn pack(fold: &Fold, shard: &ShardFold) -> Vec<u8> {
    let mut packer = Packer { bytes: Vec::with_capacity(4096 + shard.cells.len() * 512), text: String::new() };
    packer.list(3);
    packer.places(fold.epoch, &shard.from, &shard.to(&fold.to));
    packer.list(2 * fold.gaps.len());
    for gap in &fold.gaps {
        let (field, value) = keys::gap(fold.epoch, gap);
        packer.str(&field);
        packer.str(&value);
    }
    packer.list(shard.cells.len());
    for ((subject, received), cell) in &shard.cells {
        packer.cell(*subject, *received, cell, fold);
    }
    packer.bytes
}

struct Packer {
    bytes: Vec<u8>,
    text: String,
}

/// Writing into memory does not fail.
const WRITES: &str = "memory takes what is written";

impl Packer {
    fn list(&mut self, len: usize) {
        write_array_len(&mut self.bytes, u32::try_from(len).expect("a fold is smaller than that")).expect(WRITES);
    }

    fn str(&mut self, text: &str) {
        write_str(&mut self.bytes, text).expect(WRITES);
    }

    /// As a text: Redis' reader of MessagePack knows no other bytes, and takes any for text.
    fn raw(&mut self, bytes: &[u8]) {
        write_str_len(&mut self.bytes, u32::try_from(bytes.len()).expect("a sketch is small")).expect(WRITES);
        self.bytes.extend_from_slice(bytes);
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        self.formatted(format_args!("{number}"));
    }

    fn formatted(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.clear();
        self.text.write_fmt(arguments).expect(WRITES);
        write_str(&mut self.bytes, &self.text).expect(WRITES);
    }

    fn places(&mut self, epoch: Epoch, from: &Positions, to: &Positions) {
        self.list(3 * from.len());
        for (partition, position) in from {
            self.str(&keys::place(epoch, *partition));
            self.str(&keys::position(*position));
            self.str(&keys::position(to.get(partition).copied().unwrap_or(*position)));
        }
    }

    fn cell(&mut self, subject: Subject, received: Hour, cell: &FoldCell, fold: &Fold) {
        let window = fold.relations.windows.of(subject.tenant()).filter(|_| !cell.visits.is_empty());
        let (visitors, repeats) = window.map(|window| cell.visits(received, window)).unwrap_or_default();
        self.list(15);
        self.formatted(format_args!("{}", Name(subject)));
        self.number(received.0);
        self.number(subject.tenant());
        self.totals(received, cell, &repeats);
        for seen in [cell.first, cell.last] {
            match seen {
                Some(at) => self.number(at.as_millis()),
                None => write_nil(&mut self.bytes).expect(WRITES),
            }
        }
        self.values(received, cell, &fold.dictionary);
        self.visitors(cell);
        match subject.link() {
            Some(link) => self.top(link, cell),
            None => write_nil(&mut self.bytes).expect(WRITES),
        }
        match &cell.label {
            Some(label) => self.str(&keys::label_text(label)),
            None => write_nil(&mut self.bytes).expect(WRITES),
        }
        self.visitor_sets(cell);
        match window {
            Some(window) => self.visits(subject, received, window, &repeats, &visitors),
            None => write_nil(&mut self.bytes).expect(WRITES),
        }
        self.address_minutes(subject, received, &cell.address_minutes());
    }

    /// Of each minute of an address what it is known by, its samples, its clicks, and the quarter.
    fn address_minutes(&mut self, subject: Subject, received: Hour, minutes: &[AddressMinute]) {
        self.list(4 * minutes.len());
        for minute in minutes {
            self.raw(&keys::address_minute(subject, received, minute));
            for count in [minute.samples, minute.clicks] {
                write_uint(&mut self.bytes, count).expect(WRITES);
            }
            self.number(keys::quarter_in(received, minute.quarter));
        }
    }

    /// The window, how many clicks of this fold are repeats of others of it by quarter, and when each visitor clicked.
    fn visits(
        &mut self,
        link: Subject,
        received: Hour,
        window: u32,
        repeats: &Series<Quarter, u64>,
        visitors: &[(i64, Visits)],
    ) {
        self.list(3);
        self.number(window);
        self.list(2 * repeats.iter().count());
        for (quarter, count) in repeats.iter() {
            self.number(keys::quarter_in(received, *quarter));
            self.number(count);
        }
        self.list(2 * visitors.len());
        for (visitor, visits) in visitors {
            self.raw(&keys::visitor(link, *visitor));
            self.formatted(format_args!("{}", keys::Spans(visits)));
        }
    }

    fn totals(&mut self, received: Hour, cell: &FoldCell, repeats: &Series<Quarter, u64>) {
        let counts = || {
            cell.totals.iter().flat_map(|(quarter, counts)| {
                let all = [(Who::People, counts.humans), (Who::Bots, counts.bots), (Who::Previews, counts.previews)];
                all.into_iter().filter(|(_, count)| *count > 0).map(|(who, count)| (*quarter, who, count))
            })
        };
        let repeats = || repeats.iter().map(|(quarter, count)| (*quarter, Who::Repeats, *count));
        self.list(2 * (counts().count() + repeats().count()));
        for (quarter, who, count) in counts().chain(repeats()) {
            self.formatted(format_args!("{}{}", keys::quarter_in(received, quarter), who.suffix()));
            self.number(count);
        }
    }

    /// Those of small dimensions, then those of large ones, and the place where these begin, from 1.
    fn values(&mut self, received: Hour, cell: &FoldCell, dictionary: &Dictionary) {
        let of_size = |small: bool| {
            cell.values.iter().filter(move |((_, value), _)| dictionary.get(*value).0.is_small() == small)
        };
        let fields = |small: bool| -> usize {
            of_size(small).map(|(_, counts)| usize::from(counts.humans > 0) + usize::from(counts.bots > 0)).sum()
        };
        let (small, large) = (fields(true), fields(false));
        self.list(2 * (small + large));
        for ((quarter, value), counts) in of_size(true).chain(of_size(false)) {
            let (dimension, value) = dictionary.get(value);
            let (quarter, letter) = (keys::quarter_in(received, quarter), keys::letter(*dimension));
            for (mark, count) in [(':', counts.humans), ('!', counts.bots)].into_iter().filter(|(_, count)| *count > 0)
            {
                self.formatted(format_args!("{quarter}{letter}{mark}{value}"));
                self.number(count);
            }
        }
        write_uint(&mut self.bytes, small as u64 + 1).expect(WRITES);
    }

    fn visitors(&mut self, cell: &FoldCell) {
        let few = |visitors: &Visitors| matches!(visitors, Visitors::Few(_));
        self.list(cell.visitors.iter().filter(|(_, visitors)| few(visitors)).count());
        for (hour, visitors) in cell.visitors.iter() {
            if let Visitors::Few(hashes) = visitors {
                self.list(1 + hashes.len());
                self.str(&keys::date_and_hour(*hour));
                hashes.iter().for_each(|hash| self.raw(&hash.0));
            }
        }
        self.list(cell.visitors.iter().filter(|(_, visitors)| !few(visitors)).count());
        for (hour, visitors) in cell.visitors.iter() {
            if let Visitors::Many(sketch) = visitors {
                self.list(2);
                self.str(&keys::date_and_hour(*hour));
                self.raw(sketch.as_bytes());
            }
        }
    }

    /// Visitors by event day, where they are too many any that are too many.
    fn visitor_sets(&mut self, cell: &FoldCell) {
        let days = cell.visitors_by_day();
        self.list(days.iter().count());
        for (day, set) in days.iter() {
            match set.members() {
                Some(members) => {
                    self.list(1 + members.len());
                    self.str(&keys::date(*day));
                    members.iter().for_each(|visitor| self.number(visitor));
                }
                None => {
                    self.list(1 + MOST + 1);
                    self.str(&keys::date(*day));
                    (0..=MOST).for_each(|any| self.number(any));
                }
            }
        }
    }

    /// Counts by event hour.
    fn top(&mut self, link: linktide_common::id::LinkId, cell: &FoldCell) {
        let mut hours: Vec<(Hour, Who, u64)> = Vec::new();
        for (quarter, counts) in cell.totals.iter() {
            for (who, count) in
                [(Who::People, counts.humans), (Who::Bots, counts.bots), (Who::Previews, counts.previews)]
            {
                // Quarters come in order: those of an hour follow one another.
                match hours.iter_mut().rev().take(3).find(|(hour, known, _)| (*hour, *known) == (quarter.hour(), who)) {
                    Some((_, _, sum)) => *sum += count,
                    None if count > 0 => hours.push((quarter.hour(), who, count)),
                    None => {}
                }
            }
        }
        self.list(2 * hours.len());
        for (hour, who, count) in hours {
            let mut member = std::mem::take(&mut self.text);
            member.clear();
            keys::member(&mut member, hour, link, who);
            write_str(&mut self.bytes, &member).expect(WRITES);
            self.text = member;
            self.number(count);
        }
    }
}
