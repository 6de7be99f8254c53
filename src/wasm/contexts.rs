//! What the proxy knows by a number: plugin configurations and streams.

/// Contexts by the proxy's numbers for them.
pub struct Contexts<T> {
    /// Sorted by number. Proxies count upwards, so that a new one goes to the end.
    list: Vec<(u32, Box<T>)>,
}

impl<T> Contexts<T> {
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    pub fn add(&mut self, id: u32, context: T) {
        let context = Box::new(context);
        match self.find(id) {
            Ok(at) => {
                if let Some((_, old)) = self.list.get_mut(at) {
                    *old = context;
                }
            }
            Err(at) => self.list.insert(at, (id, context)),
        }
    }

    pub fn get(&mut self, id: u32) -> Option<&mut T> {
        let at = self.find(id).ok()?;
        self.list.get_mut(at).map(|(_, context)| context.as_mut())
    }

    /// Takes a context out, if it is there.
    pub fn remove(&mut self, id: u32) -> Option<Box<T>> {
        let at = self.find(id).ok()?;
        Some(self.list.remove(at).1)
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |(id, _)| *id)
    }
}
