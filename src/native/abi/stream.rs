//! A stream of Envoy's: its headers, its attributes, and metrics counted on its worker.

use smallvec::SmallVec;

use crate::http::Headers;

use super::{
    bytes, change, Attribute, EnvoyBuffer, Header, Map, ModuleBuffer, Stream, CALLBACKS,
    RECEIVED_RESPONSE_BODY,
};

/// A stream, while one of its hooks runs.
#[derive(Clone, Copy)]
pub struct StreamHandle(Stream);

impl StreamHandle {
    /// # Safety
    /// `stream` is what Envoy handed to the hook that runs.
    pub unsafe fn new(stream: Stream) -> Self {
        Self(stream)
    }

    /// A copy of a whole header map.
    pub fn headers(self, map: Map) -> Headers {
        let Some(callbacks) = CALLBACKS.get() else { return Headers::default() };
        // SAFETY: the stream is alive while its hook runs.
        let count = unsafe { (callbacks.http_get_headers_size)(self.0, map as u32) };
        let empty = Header {
            name: std::ptr::null(),
            name_length: 0,
            value: std::ptr::null(),
            value_length: 0,
        };
        let mut lines: SmallVec<[Header; 32]> = SmallVec::from_elem(empty, count);
        // SAFETY: there is room for as many lines as Envoy said just now that there are.
        if !unsafe { (callbacks.http_get_headers)(self.0, map as u32, lines.as_mut_ptr()) } {
            return Headers::default();
        }
        let size = lines.iter().map(|line| line.name_length + line.value_length).sum();
        let mut headers = Headers::with_room(count, size);
        for line in &lines {
            headers.push(bytes(line.name, line.name_length), bytes(line.value, line.value_length));
        }
        headers
    }

    /// A copy of the first line of a header.
    pub fn header(self, map: Map, name: &str) -> Option<Vec<u8>> {
        let callbacks = CALLBACKS.get()?;
        let mut value = EnvoyBuffer::EMPTY;
        let name = ModuleBuffer::of(name.as_bytes());
        // SAFETY: the stream is alive, the name is a live string, and the place for the value is live; no count is
        // asked for.
        let found = unsafe {
            (callbacks.http_get_header)(
                self.0,
                map as u32,
                name,
                &mut value,
                0,
                std::ptr::null_mut(),
            )
        };
        found.then(|| value.to_vec())
    }

    /// Sets a header in place of every line of that name; without a value, removes it.
    pub fn set_header(self, map: Map, name: &[u8], value: Option<&[u8]>) {
        let value = value.map_or(ModuleBuffer::NONE, ModuleBuffer::of);
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: the stream is alive, and the buffers are those of live slices.
            unsafe {
                (callbacks.http_set_header)(self.0, map as u32, ModuleBuffer::of(name), value)
            };
        }
    }

    /// Adds a line.
    pub fn add_header(self, map: Map, name: &str, value: &[u8]) {
        let name = ModuleBuffer::of(name.as_bytes());
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: the stream is alive, and the buffers are those of live slices.
            unsafe {
                (callbacks.http_add_header)(self.0, map as u32, name, ModuleBuffer::of(value))
            };
        }
    }

    /// How many bytes of the answer's body the hook that runs is called with.
    pub fn response_body_size(self) -> usize {
        // SAFETY: the stream is alive.
        CALLBACKS.get().map_or(0, |callbacks| unsafe {
            (callbacks.http_get_body_size)(self.0, RECEIVED_RESPONSE_BODY)
        })
    }

    /// Leaves a value for other filters of the stream, once.
    pub fn set_state(self, key: &str, value: &[u8]) {
        let key = ModuleBuffer::of(key.as_bytes());
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: the stream is alive, and the buffers are those of live slices.
            unsafe {
                (callbacks.http_set_filter_state_bytes)(self.0, key, ModuleBuffer::of(value))
            };
        }
    }

    /// Whether a native module has left a value for other filters of the stream.
    pub fn has_state(self, key: &str) -> bool {
        let key = ModuleBuffer::of(key.as_bytes());
        let mut value = EnvoyBuffer::EMPTY;
        // SAFETY: the stream is alive, the name is a live string, and so is the place for the value.
        CALLBACKS.get().is_some_and(|callbacks| unsafe {
            (callbacks.http_get_filter_state_bytes)(self.0, key, &mut value)
        })
    }

    /// Has Envoy choose the route anew.
    pub fn clear_route_cache(self) {
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: the stream is alive.
            unsafe { (callbacks.http_clear_route_cache)(self.0) };
        }
    }

    /// A copy of an attribute that is bytes; one without any is none.
    pub fn attribute(self, attribute: Attribute) -> Option<Vec<u8>> {
        let callbacks = CALLBACKS.get()?;
        let mut value = EnvoyBuffer::EMPTY;
        // SAFETY: the stream is alive, and so is the place for the value.
        let found = unsafe {
            (callbacks.http_filter_get_attribute_string)(self.0, attribute as u32, &mut value)
        };
        (found && value.length > 0).then(|| value.to_vec())
    }

    /// An attribute that is a whole number.
    pub fn integer(self, attribute: Attribute) -> Option<u64> {
        let callbacks = CALLBACKS.get()?;
        let mut value = 0;
        // SAFETY: the stream is alive, and so is the place for the value.
        let found = unsafe {
            (callbacks.http_filter_get_attribute_int)(self.0, attribute as u32, &mut value)
        };
        found.then_some(value)
    }

    pub fn increment(self, id: usize, values: &[&str], by: u64) {
        // SAFETY: the stream is alive.
        unsafe {
            change(self.0, |callbacks| callbacks.http_filter_increment_counter, id, values, by)
        };
    }

    pub fn set_gauge(self, id: usize, values: &[&str], value: u64) {
        // SAFETY: the stream is alive.
        unsafe { change(self.0, |callbacks| callbacks.http_filter_set_gauge, id, values, value) };
    }

    pub fn record(self, id: usize, values: &[&str], value: u64) {
        // SAFETY: the stream is alive.
        unsafe {
            change(
                self.0,
                |callbacks| callbacks.http_filter_record_histogram_value,
                id,
                values,
                value,
            )
        };
    }
}
