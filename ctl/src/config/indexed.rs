//! [`Indexed`]: a collection of the configuration that is looked up by more than its keys.

use std::ops::Deref;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::Table;

/// A value that is found by what it says of itself, too.
pub trait Marked {
    /// What it is found by.
    type Mark: Ord + Clone;

    /// What this one is found by: each of it once.
    fn marks(&self) -> impl Iterator<Item = Self::Mark>;
}

/// Values by their keys and by their marks: one of a hundred thousand is found without a look at the others. A copy
/// shares what does not change, as a [`Table`] does, as which it is looked at and kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Table<K, V>", into = "Table<K, V>")]
#[serde(bound(
    serialize = "K: Ord + Clone + Serialize, V: Marked + Clone + Serialize",
    deserialize = "K: Ord + Clone + Deserialize<'de>, V: Marked + Clone + Deserialize<'de>"
))]
pub struct Indexed<K: Ord, V: Marked> {
    values: Table<K, V>,
    /// Each mark with each key that it leads to. No key at all is before every one, and in none of them.
    by_mark: OrdSet<(V::Mark, Option<K>)>,
}

impl<K: Ord + Clone, V: Marked + Clone> Indexed<K, V> {
    /// Puts a value in the place of that with its key, which comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        self.by_mark.extend(entries(&key, &value));
        self.values.insert(key, value);
        before
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.values.remove(key)?;
        for entry in entries(key, &removed) {
            self.by_mark.remove(&entry);
        }
        Some(removed)
    }

    /// The values with a mark, in the order of their keys.
    pub fn marked(&self, mark: V::Mark) -> impl Iterator<Item = (&K, &V)> + '_ {
        let those = self.by_mark.range((mark.clone(), None)..);
        let those = those.take_while(move |(other, _)| *other == mark);
        those.filter_map(|(_, key)| self.values.get_key_value(key.as_ref()?))
    }
}

/// What is in the index of a value.
fn entries<K: Clone, V: Marked>(key: &K, value: &V) -> impl Iterator<Item = (V::Mark, Option<K>)> {
    value.marks().map(|mark| (mark, Some(key.clone())))
}

impl<K: Ord, V: Marked> Default for Indexed<K, V> {
    fn default() -> Self {
        Self { values: Table::default(), by_mark: OrdSet::default() }
    }
}

impl<K: Ord, V: Marked> Deref for Indexed<K, V> {
    type Target = Table<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl<K: Ord + Clone, V: Marked + Clone> From<Table<K, V>> for Indexed<K, V> {
    fn from(values: Table<K, V>) -> Self {
        let by_mark = values.iter().flat_map(|(key, value)| entries(key, value)).collect();
        Self { values, by_mark }
    }
}

impl<K: Ord, V: Marked> From<Indexed<K, V>> for Table<K, V> {
    fn from(indexed: Indexed<K, V>) -> Self {
        indexed.values
    }
}

/// What the index says follows from the values.
impl<K: Ord, V: Marked + PartialEq> PartialEq for Indexed<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<K: Ord, V: Marked + Eq> Eq for Indexed<K, V> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Found by what remains of it when it is divided, and some by being even besides.
    #[derive(Debug, Clone, PartialEq)]
    struct Number(u8);

    impl Marked for Number {
        type Mark = Option<u8>;

        fn marks(&self) -> impl Iterator<Item = Self::Mark> {
            [Some(self.0 % 3)].into_iter().chain(self.0.is_multiple_of(2).then_some(None))
        }
    }

    proptest! {
        #[test]
        fn a_value_is_found_by_its_marks_as_a_search_from_end_to_end_finds_it(
            steps in prop::collection::vec((0u8..6, any::<u8>(), any::<bool>()), 0..40)
        ) {
            let mut numbers = Indexed::<u8, Number>::default();
            for (key, number, is_put) in steps {
                if is_put {
                    numbers.insert(key, Number(number));
                } else {
                    numbers.remove(&key);
                }
            }
            for mark in [None, Some(0), Some(1), Some(2)] {
                let has_it = |(_, number): &(&u8, &Number)| number.marks().any(|it| it == mark);
                let those: Vec<_> = numbers.iter().filter(has_it).collect();
                prop_assert_eq!(numbers.marked(mark).collect::<Vec<_>>(), those);
            }
            let marks: usize = numbers.values().map(|number| number.marks().count()).sum();
            prop_assert_eq!(numbers.by_mark.len(), marks);
            prop_assert_eq!(&Indexed::from(numbers.values.clone()).by_mark, &numbers.by_mark);
        }
    }
}
