//! The values a fold has seen, each once, so that cells hold small numbers instead of texts.

use linktide_common::dimension::Dimension;
use linktide_common::enrich::{EnrichedClick, Text};
use rustc_hash::FxHashMap;

use super::cell::ValueId;
use super::{Value, value};

/// Values by number, and numbers by value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    values: Vec<Value>,
    /// By the dimension's place in [`Dimension::ALL`].
    numbers: [FxHashMap<Text, ValueId>; Dimension::ALL.len()],
}

impl Dictionary {
    /// The numbers of a click's values. A dimension in which it has none is left out: what is missing from a total is
    /// what had no value.
    pub(crate) fn values_of<'a>(
        &mut self,
        click: &EnrichedClick,
        room: &'a mut [ValueId; Dimension::ALL.len()],
    ) -> &'a [ValueId] {
        let mut count = 0;
        for (place, dimension) in Dimension::ALL.iter().enumerate() {
            let Some(text) = value(*dimension, click) else { continue };
            room[count] = self.number(place, *dimension, text);
            count += 1;
        }
        &room[..count]
    }

    pub(crate) fn get(&self, number: ValueId) -> &Value {
        &self.values[number as usize]
    }

    fn number(&mut self, place: usize, dimension: Dimension, text: &str) -> ValueId {
        if let Some(number) = self.numbers[place].get(text) {
            return *number;
        }
        let text: Text = text.into();
        let number = ValueId::try_from(self.values.len()).expect("a fold holds fewer clicks than that");
        self.values.push((dimension, Text::clone(&text)));
        self.numbers[place].insert(text, number);
        number
    }
}
