//! Names to what is known of them, at a cost that hardly grows with their number.

/// Names in the order of a hash, so that a lookup compares numbers and then one name.
///
/// Names are the configuration's, and a hash only says where to look: whatever a request asks for costs
/// the same.
#[derive(Debug)]
pub struct Index<T> {
    entries: Vec<(u32, Box<[u8]>, T)>,
}

impl<T> Index<T> {
    pub fn new(names: impl IntoIterator<Item = (Vec<u8>, T)>) -> Self {
        let entry = |(name, value): (Vec<u8>, T)| (hash(name.iter().copied()), name.into(), value);
        let mut entries: Vec<_> = names.into_iter().map(entry).collect();
        entries
            .sort_by(|one: &(u32, Box<[u8]>, T), other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        Self { entries }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of a name, given byte by byte.
    pub fn get(&self, name: impl Iterator<Item = u8> + Clone) -> Option<&T> {
        let wanted = hash(name.clone());
        let first = self.entries.partition_point(|(hash, ..)| *hash < wanted);
        let same = self.entries.iter().skip(first).take_while(|(hash, ..)| *hash == wanted);
        let mut found = same.filter(|(_, known, _)| known.iter().copied().eq(name.clone()));
        found.next().map(|(.., value)| value)
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

/// FNV-1a, 32 bit.
fn hash(name: impl Iterator<Item = u8>) -> u32 {
    name.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::Index;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names = (0..5000u32).map(|number| (format!("name-{number}").into_bytes(), number));
        let index = Index::new(names);
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
        let index = Index::new([(one.into(), 1), (other.into(), 2)]);
        assert_eq!((index.get(one.bytes()), index.get(other.bytes())), (Some(&1), Some(&2)));
        let index = Index::new([(one.into(), 1)]);
        assert_eq!(index.get(other.bytes()), None);
    }
}
