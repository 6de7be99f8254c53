//! Names to what is known of them, at a cost that hardly grows with their number.

/// Names, found by a hash, so that a lookup compares numbers and then one name.
///
/// Names are the configuration's, and a hash only says where to look: whatever a request asks for costs
/// the same.
#[derive(Debug)]
pub struct Index<T> {
    entries: Vec<(Box<[u8]>, T)>,
    /// The hash of each name and its position in `entries`, sorted.
    order: Vec<(u32, usize)>,
}

impl<T: Default> Index<T> {
    /// Changes what is known of a name, which is the default of a new one.
    pub fn update(&mut self, name: &[u8], change: impl FnOnce(&mut T)) {
        let bytes = name.iter().copied();
        let position = self.find(bytes.clone()).unwrap_or_else(|| {
            let place = (hash(bytes), self.entries.len());
            // Kept sorted, because sorting would bring many times more code into the module.
            self.order.insert(self.order.partition_point(|other| *other < place), place);
            self.entries.push((name.into(), T::default()));
            place.1
        });
        if let Some((_, value)) = self.entries.get_mut(position) {
            change(value);
        }
    }
}

impl<T> Index<T> {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of a name, given byte by byte.
    pub fn get(&self, name: impl Iterator<Item = u8> + Clone) -> Option<&T> {
        self.entries.get(self.find(name)?).map(|(_, value)| value)
    }

    fn find(&self, name: impl Iterator<Item = u8> + Clone) -> Option<usize> {
        let wanted = hash(name.clone());
        let first = self.order.partition_point(|(hash, _)| *hash < wanted);
        let same = self.order.iter().skip(first).take_while(|(hash, _)| *hash == wanted);
        let is_it = |position: usize| {
            let entry = self.entries.get(position);
            entry.is_some_and(|(known, _)| known.iter().copied().eq(name.clone()))
        };
        same.map(|(_, position)| *position).find(|position| is_it(*position))
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), order: Vec::new() }
    }
}

/// FNV-1a, 32 bit.
fn hash(name: impl Iterator<Item = u8>) -> u32 {
    name.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::Index;

    fn index<'a>(names: impl IntoIterator<Item = (&'a str, u32)>) -> Index<u32> {
        let mut index = Index::default();
        for (name, number) in names {
            index.update(name.as_bytes(), |value| *value = number);
        }
        index
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..5000).map(|number| format!("name-{number}")).collect();
        let index = index(names.iter().map(String::as_str).zip(0..));
        for number in 0..6000 {
            let found = index.get(format!("name-{number}").bytes());
            assert_eq!(found.copied(), (number < 5000).then_some(number));
        }
        assert_eq!(index.get(std::iter::empty()), None);
    }

    #[test]
    fn names_of_the_same_hash_are_told_apart() {
        // A known pair under 32-bit FNV-1a.
        let (one, other) = ("costarring", "liquid");
        assert_eq!(super::hash(one.bytes()), super::hash(other.bytes()));
        let both = index([(one, 1), (other, 2)]);
        assert_eq!((both.get(one.bytes()), both.get(other.bytes())), (Some(&1), Some(&2)));
        assert_eq!(index([(one, 1)]).get(other.bytes()), None);
    }
}
