//! Challenges that wait for an answer, and those that have one: both within bounds, both until they expire.

use std::collections::{HashMap, HashSet, VecDeque};

use linktide_common::bucket::Timestamp;
use linktide_common::click::Click;
use linktide_common::id::ClickId;

/// What is remembered of challenges.
pub(super) struct Book {
    most: usize,
    waiting: HashMap<ClickId, Click>,
    /// In the order in which they expire; those that were answered meanwhile stand here, too.
    expiries: VecDeque<(Timestamp, ClickId)>,
    answered: HashSet<ClickId>,
    answers: VecDeque<(Timestamp, ClickId)>,
}

impl Book {
    /// Remembers at most so many of each.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: HashMap::new(),
            expiries: VecDeque::new(),
            answered: HashSet::new(),
            answers: VecDeque::new(),
        }
    }

    /// Whether no more challenges may be put.
    pub(super) fn is_full(&self) -> bool {
        self.expiries.len() >= self.most
    }

    /// Remembers that a challenge waits for an answer until `expiry`.
    pub(super) fn put(&mut self, id: ClickId, click: Click, expiry: Timestamp) {
        self.waiting.insert(id, click);
        self.expiries.push_back((expiry, id));
    }

    /// Notes an answer; none where there was one before. The click is there where this process put the challenge.
    pub(super) fn answer(&mut self, id: ClickId, expiry: Timestamp) -> Option<Option<Click>> {
        if !self.answered.insert(id) {
            return None;
        }
        // Beyond the bound the oldest is forgotten: it could be answered again, and its click's id would count once all the same.
        if self.answers.len() >= self.most
            && let Some((_, oldest)) = self.answers.pop_front()
        {
            self.answered.remove(&oldest);
        }
        self.answers.push_back((expiry, id));
        Some(self.waiting.remove(&id))
    }

    /// The clicks whose challenges nobody answered by `now`.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Click> {
        while self.answers.front().is_some_and(|(expiry, _)| *expiry <= now) {
            if let Some((_, id)) = self.answers.pop_front() {
                self.answered.remove(&id);
            }
        }
        let mut left = Vec::new();
        while self.expiries.front().is_some_and(|(expiry, _)| *expiry <= now) {
            let (_, id) = self.expiries.pop_front().expect("there is one in front");
            left.extend(self.waiting.remove(&id));
        }
        left
    }

    /// Every click that still waits; from now on there is room for none.
    pub(super) fn close(&mut self) -> Vec<Click> {
        self.most = 0;
        self.expiries.clear();
        self.waiting.drain().map(|(_, click)| click).collect()
    }
}

#[cfg(test)]
mod tests {
    use linktide_common::bucket::Day;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> ClickId {
        ClickId(Uuid::from_u128(number))
    }

    fn click(number: u64) -> Click {
        Click::parse(format!("{{\"link_id\":{number}}}").as_bytes()).unwrap()
    }

    #[test]
    fn challenge_is_answered_once_or_expires_once() {
        let (mut book, now) = (Book::new(3), Day(20_000).start());
        let expiry = |seconds: i64| now.plus_millis(seconds * 1000);
        for number in [1, 2, 3] {
            assert!(!book.is_full());
            book.put(id(number.into()), click(number), expiry(60));
        }
        assert!(book.is_full());
        assert_eq!(book.answer(id(2), expiry(60)), Some(Some(click(2))));
        assert_eq!(book.answer(id(2), expiry(60)), None);
        // Of another process.
        assert_eq!(book.answer(id(9), expiry(60)), Some(None));
        assert_eq!(book.answer(id(9), expiry(60)), None);
        assert!(book.expire(expiry(59)).is_empty());
        assert_eq!(book.expire(expiry(60)), [click(1), click(3)]);
        assert!(book.expire(expiry(99)).is_empty() && !book.is_full() && book.answered.is_empty());
    }

    #[test]
    fn answers_are_remembered_within_bounds() {
        let (mut book, now) = (Book::new(2), Day(20_000).start());
        for number in 0..100 {
            assert!(book.answer(id(number), now).is_some());
        }
        assert_eq!((book.answered.len(), book.answers.len()), (2, 2));
        assert!(book.answer(id(99), now).is_none() && book.answer(id(0), now).is_some());
    }

    #[test]
    fn what_waits_at_the_end_is_handed_out() {
        let (mut book, now) = (Book::new(2), Day(20_000).start());
        book.put(id(1), click(1), now);
        assert_eq!(book.close(), [click(1)]);
        assert!(book.is_full());
        assert!(book.expire(now).is_empty());
    }
}
