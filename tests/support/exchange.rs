//! One request and its answer, as a test writes it and as it came out behind the filter.

/// Header lines in order: names in lower case.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// What the proxy holds of one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    pub request: Lines,
    pub request_trailers: Lines,
    pub response: Lines,
    pub response_trailers: Lines,
    /// The property `source.address`.
    pub address: Option<Vec<u8>>,
    /// The property `connection.id`.
    pub connection: u64,
    /// The property `connection.uri_san_peer_certificate`.
    pub principal: Option<Vec<u8>>,
    /// The property `response.flags`.
    pub flags: u64,
    /// The property `response.code_details`; where it is empty there is none.
    pub details: &'static str,
    /// What filters left on the stream.
    pub marks: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
}

/// How a stream ends.
#[derive(Clone, Debug)]
pub enum Ending {
    Answer(Reply),
    /// The client went away before there was an answer.
    Aborted,
    /// The proxy refused the request itself: neither request nor response callback.
    NeverBegan,
}

/// An answer, and whether it came to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Lines,
    pub trailers: Lines,
    pub body: bool,
    pub ended: bool,
    /// The bytes of the body.
    pub size: u32,
    pub details: &'static str,
}

/// Envoy's response code details.
pub mod details {
    pub const UPSTREAM: &str = "via_upstream";
    pub const RESET_BEFORE_HEADERS: &str =
        "upstream_reset_before_response_started{connection_termination}";
    pub const RESET_AFTER_HEADERS: &str =
        "upstream_reset_after_response_started{connection_termination}";
    pub const IDLE: &str = "stream_idle_timeout";
    pub const CLIENT_WENT: &str = "downstream_remote_disconnect";
    pub const DENIED: &str = "rbac_access_denied_matched_policy[none]";
}

/// A request, and how it will be answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub state: StreamState,
    pub ending: Ending,
    /// Milliseconds from the request to the answer.
    pub takes: u64,
}

/// A GET that is answered 200 at once.
pub fn get(target: &str) -> Exchange {
    let pseudo = [(":authority", "shop.example.com"), (":path", target), (":method", "GET")];
    let request = pseudo.iter().chain(&[(":scheme", "http")]);
    let request = request
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    let state = StreamState {
        request,
        address: Some(b"203.0.113.9:41234".to_vec()),
        details: details::UPSTREAM,
        ..StreamState::default()
    };
    Exchange { state, ending: Ending::Answer(Reply::new(200)), takes: 0 }
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            trailers: Vec::new(),
            body: true,
            ended: true,
            size: 100,
            details: details::UPSTREAM,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.into(), value.into()));
        self
    }

    /// Breaks off after the headers, with these details.
    pub fn broken_off(mut self, details: &'static str) -> Self {
        self.ended = false;
        self.details(details)
    }

    pub fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }
}

impl Exchange {
    /// Adds a line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.state.request.push((name.to_ascii_lowercase().into(), value.as_ref().to_vec()));
        self
    }

    /// Removes all lines of that name.
    pub fn without(mut self, name: &str) -> Self {
        self.state.request.retain(|(known, _)| known != name.as_bytes());
        self
    }

    /// Puts a line in the place of all of that name.
    pub fn replace(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).header(name, value)
    }

    pub fn user(self, id: &str) -> Self {
        self.header("x-user-id", id)
    }

    pub fn cookie(self, line: impl AsRef<[u8]>) -> Self {
        self.header("cookie", line)
    }

    pub fn host(self, host: &str) -> Self {
        self.replace(":authority", host)
    }

    pub fn https(self) -> Self {
        self.replace(":scheme", "https")
    }

    /// On another connection than the first.
    pub fn on_connection(mut self, number: u64) -> Self {
        self.state.connection = number;
        self
    }

    /// From a peer that showed a certificate with this URI.
    pub fn sent_by(mut self, id: &str) -> Self {
        self.state.principal = Some(id.into());
        self
    }

    /// With the mark that another instance of the filter left.
    pub fn marked(mut self, name: &str) -> Self {
        self.state.marks.insert(format!("cohort.{name}").into_bytes(), b"1".to_vec());
        self
    }

    /// The client's address with its port, as the proxy writes it.
    /// On the connection of this number.
    pub fn connection(mut self, number: u64) -> Self {
        self.state.connection = number;
        self
    }

    pub fn from(mut self, address: &str) -> Self {
        self.state.address = Some(address.into());
        self
    }

    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.state.request_trailers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub fn answered(self, status: u16) -> Self {
        self.reply(Reply::new(status))
    }

    pub fn reply(mut self, reply: Reply) -> Self {
        self.state.details = reply.details;
        self.ending = Ending::Answer(reply);
        self
    }

    pub fn aborted(mut self) -> Self {
        self.state.details = details::CLIENT_WENT;
        self.ending = Ending::Aborted;
        self
    }

    pub fn takes(mut self, millis: u64) -> Self {
        self.takes = millis;
        self
    }
}

/// What came out behind the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request: Lines,
    pub request_trailers: Lines,
    pub response: Lines,
}

impl Seen {
    /// The one line of a request header; panics where there are several.
    pub fn request(&self, name: &str) -> Option<String> {
        one(&self.request, name)
    }

    /// The one line of a response header; panics where there are several.
    pub fn response(&self, name: &str) -> Option<String> {
        one(&self.response, name)
    }

    /// The names of the request headers, pseudo-headers left out.
    pub fn request_names(&self) -> Vec<String> {
        let names = self.request.iter().map(|(name, _)| text(name));
        names.filter(|name| !name.starts_with(':')).collect()
    }

    /// The values of `set-cookie`, in order.
    pub fn cookies(&self) -> Vec<String> {
        let lines = self.response.iter().filter(|(name, _)| name == b"set-cookie");
        lines.map(|(_, value)| text(value)).collect()
    }

    /// The value of the cookie `name` that was handed out.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies().iter().find_map(|cookie| {
            let value = cookie.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.split(';').next().unwrap_or_default().to_owned())
        })
    }
}

fn one(lines: &Lines, name: &str) -> Option<String> {
    let values: Vec<String> =
        lines.iter().filter(|(known, _)| known == name.as_bytes()).map(|(_, v)| text(v)).collect();
    assert!(values.len() < 2, "{name} came in {} lines: {values:?}", values.len());
    values.into_iter().next()
}

/// Bytes as a test can compare them.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
