//! Names to what is known of them, at a cost that hardly grows with their number.

/// Names, found by a hash, so that a lookup compares numbers and then one name.
///
/// Names are the configuration's, and a hash only says where to look: whatever a request asks for costs
/// the same.
#[derive(Debug)]
pub struct Index<T> {
    entries: Vec<(Box<[u8]>, T)>,
    /// A power of two of them, at most half of them taken: the hash of a name, and one more than its
    /// position in `entries`. A name is in the slot that its hash says, or in one of those that follow.
    slots: Vec<(u32, usize)>,
}

impl<T: Default> Index<T> {
    /// Changes what is known of a name, which is the default of a new one.
    pub fn update(&mut self, name: &[u8], change: impl FnOnce(&mut T)) {
        let (position, _) = self.find_or_add(name);
        if let Some((_, value)) = self.entries.get_mut(position) {
            change(value);
        }
    }

    /// Adds a name, and says whether it was not there before.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        self.find_or_add(name).1
    }

    /// Where a name is, and whether it is new.
    fn find_or_add(&mut self, name: &[u8]) -> (usize, bool) {
        let hash = hash(name.iter().copied());
        match self.find(hash, name.iter().copied()) {
            Some(position) => (position, false),
            None => (self.add(hash, name), true),
        }
    }

    /// Adds a name that is not there, and says where.
    fn add(&mut self, hash: u32, name: &[u8]) -> usize {
        self.entries.push((name.into(), T::default()));
        if self.entries.len() * 2 > self.slots.len() {
            let twice = vec![(0, 0); (self.slots.len() * 2).max(8)];
            let before = std::mem::replace(&mut self.slots, twice);
            before.into_iter().filter(|(_, next)| *next != 0).for_each(|slot| self.place(slot));
        }
        self.place((hash, self.entries.len()));
        self.entries.len() - 1
    }

    /// Puts a slot where it is looked for: where one is free, and half of them are.
    fn place(&mut self, slot: (u32, usize)) {
        let last = self.slots.len().saturating_sub(1);
        let mut at = slot.0 as usize & last;
        while self.slots.get(at).is_some_and(|(_, next)| *next != 0) {
            at = (at + 1) & last;
        }
        if let Some(free) = self.slots.get_mut(at) {
            *free = slot;
        }
    }
}

impl<T> Index<T> {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of a name, given byte by byte.
    pub fn get(&self, name: impl Iterator<Item = u8> + Clone) -> Option<&T> {
        self.entries.get(self.find(hash(name.clone()), name)?).map(|(_, value)| value)
    }

    fn find(&self, wanted: u32, name: impl Iterator<Item = u8> + Clone) -> Option<usize> {
        let mut at = wanted as usize;
        loop {
            // A slot that is free ends the search; half of them are.
            let (hash, next) = *self.slots.get(at & self.slots.len().checked_sub(1)?)?;
            let position = next.checked_sub(1)?;
            let is_it = |(known, _): &(Box<[u8]>, T)| known.iter().copied().eq(name.clone());
            if hash == wanted && self.entries.get(position).is_some_and(is_it) {
                return Some(position);
            }
            at = at.wrapping_add(1);
        }
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Vec::new() }
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
