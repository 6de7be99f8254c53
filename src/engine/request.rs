//! A request as a decision sees it.

use std::borrow::Cow;
use std::cell::{OnceCell, Ref, RefCell};
use std::fmt::Write;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::config::KeySource;
use crate::http::{baggage, cookie, query, HeaderName, Headers, SetCookie};

use super::Plan;

/// What a decision may need beside the headers. Each is asked for only where a configuration needs it. A request
/// that was made up has no connection.
pub trait Surroundings {
    /// The client's address as the proxy trusts it.
    fn client_address(&self) -> Option<IpAddr>;
    /// The number of the connection that the request came on: no other connection of the proxy has it at the
    /// same time.
    fn connection_id(&self) -> Option<u64> {
        None
    }
    /// The URI in the certificate that the peer presented, a SPIFFE id in a mesh. `None` without TLS or without
    /// such a certificate. The proxy's listener says whether certificates are verified.
    fn peer_principal(&self) -> Option<Vec<u8>> {
        None
    }
    /// 128 bits from the system's source of randomness; `None` where there is none.
    fn random(&self) -> Option<[u8; 16]>;
    /// The id of a visitor who brings none in the cookie of that name, as bits; the same for requests of one
    /// client that come together.
    fn new_id(&self, _cookie: &str) -> Option<[u8; 16]> {
        self.random()
    }
}

/// A request, read lazily: nothing is parsed that no condition and no key asks for.
pub struct Request<'a> {
    plan: &'a Plan,
    headers: &'a Headers,
    surroundings: &'a dyn Surroundings,
    key: Option<&'a [u8]>,
    address: OnceCell<Option<IpAddr>>,
    principal: OnceCell<Option<Vec<u8>>>,
    host: OnceCell<Option<SmallVec<[u8; 64]>>>,
    /// The value of each of the plan's cookie names, by position.
    cookies: OnceCell<SmallVec<[Option<&'a [u8]>; 8]>>,
    /// What the first baggage member of each rollout says, by the rollout's position; empty where there is
    /// none of any.
    brought: OnceCell<Vec<Option<&'a [u8]>>>,
    issued: RefCell<Vec<Issued<'a>>>,
}

/// An anonymous id made for this request.
#[derive(Clone, Debug)]
pub struct Issued<'a> {
    pub cookie: &'a SetCookie,
    /// 32 hexadecimal digits.
    pub id: String,
    /// Whether a rollout that is in force wants it handed out; one in shadow mode does not.
    pub hand_out: bool,
}

impl<'a> Request<'a> {
    pub fn new(plan: &'a Plan, headers: &'a Headers, surroundings: &'a dyn Surroundings) -> Self {
        Self {
            plan,
            headers,
            surroundings,
            key: None,
            address: OnceCell::new(),
            principal: OnceCell::new(),
            host: OnceCell::new(),
            cookies: OnceCell::new(),
            brought: OnceCell::new(),
            issued: RefCell::default(),
        }
    }

    /// The same request of the user of `key`, whatever it carries.
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The key that [`Request::with_key`] gave the user.
    pub fn given_key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The headers, as they came.
    pub fn headers(&self) -> &'a Headers {
        self.headers
    }

    /// The first line of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&'a [u8]> {
        self.headers.first(name.as_str())
    }

    /// The method; empty if the proxy has none.
    pub fn method(&self) -> &'a [u8] {
        self.headers.first(":method").unwrap_or_default()
    }

    /// The path without the query string; empty if the proxy has none (a CONNECT).
    pub fn path(&self) -> &'a [u8] {
        query::path_of(self.target())
    }

    /// The first query parameter of that name, its bytes as they are.
    pub fn query(&self, name: &str) -> Option<&'a [u8]> {
        query::parameter(self.target(), name)
    }

    /// The host in lower case and without its port.
    pub fn host(&self) -> Option<&[u8]> {
        let host = self.host.get_or_init(|| {
            let authority =
                self.headers.first(":authority").or_else(|| self.headers.first("host"))?;
            let mut host: SmallVec<[u8; 64]> = SmallVec::from_slice(without_port(authority));
            host.make_ascii_lowercase();
            Some(host)
        });
        host.as_deref()
    }

    /// The first cookie of that name over all the `cookie` lines. Only names of the configuration can
    /// be asked for.
    pub fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let position = self.plan.cookie_position(name.as_bytes())?;
        let cookies = self.cookies.get_or_init(|| {
            let mut values = SmallVec::from_elem(None, self.plan.cookie_count());
            for line in self.headers.all("cookie") {
                for (name, value) in cookie::pairs(line) {
                    let position = self.plan.cookie_position(name);
                    if let Some(slot @ None) = position.and_then(|it| values.get_mut(it)) {
                        *slot = Some(value);
                    }
                }
            }
            values
        });
        cookies.get(position).copied().flatten()
    }

    /// Every cookie of that name, in order. Only names of the configuration can be asked for.
    pub fn cookies<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'a [u8]> + 'r {
        let first = self.cookie(name);
        let lines = self.headers.all("cookie").filter(move |_| first.is_some());
        let others =
            lines.flat_map(cookie::pairs).filter(move |(other, _)| *other == name.as_bytes());
        first.into_iter().chain(others.map(|(_, value)| value).skip(1))
    }

    /// The version that the baggage says of the rollout called `name`: its first member, spelled as we do.
    pub fn brought(&self, rollout: &str) -> Option<&'a [u8]> {
        let brought = self.brought.get_or_init(|| {
            let mut values = Vec::new();
            for member in self.headers.all("baggage").flat_map(baggage::members) {
                let Some(name) = member.key.strip_prefix(baggage::PREFIX) else { continue };
                let name = std::str::from_utf8(name).unwrap_or_default();
                let Some(position) = self.plan.rollout_named(name) else { continue };
                if values.is_empty() {
                    values = vec![None; self.plan.rollouts().len()];
                }
                if let Some(slot @ None) = values.get_mut(position) {
                    *slot = Some(member.value);
                }
            }
            values
        });
        brought.get(self.plan.rollout_named(rollout)?).copied().flatten()
    }

    /// The number of the connection that the request came on.
    pub fn connection_id(&self) -> Option<u64> {
        self.surroundings.connection_id()
    }

    /// The SPIFFE id of the peer's own certificate.
    pub fn principal(&self) -> Option<&[u8]> {
        self.principal.get_or_init(|| self.surroundings.peer_principal()).as_deref()
    }

    /// Whether this is the question that a browser asks before a request to another origin (Fetch, section
    /// 4.9). It carries no cookies and keeps none.
    pub fn is_preflight(&self) -> bool {
        self.method() == b"OPTIONS"
            && self.headers.first("origin").is_some()
            && self.headers.first("access-control-request-method").is_some()
    }

    /// The client's address as the proxy trusts it.
    pub fn address(&self) -> Option<IpAddr> {
        *self.address.get_or_init(|| self.surroundings.client_address())
    }

    /// Whether the request came over https, by what the proxy says.
    pub fn is_https(&self) -> bool {
        let scheme =
            self.headers.first("x-forwarded-proto").or_else(|| self.headers.first(":scheme"));
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"))
    }

    /// The user's key by one source; an empty value is none.
    pub fn key(&self, source: &KeySource) -> Option<Cow<'a, [u8]>> {
        let (value, capture) = match source {
            KeySource::Header(name, capture) => (self.header(name)?, capture),
            KeySource::Cookie(name, capture) => (self.cookie(name)?, capture),
            KeySource::Query(name, capture) => (self.query(name)?, capture),
            KeySource::Address => return Some(self.address()?.to_string().into_bytes().into()),
            KeySource::Host => {
                let host = self.host().filter(|host| !host.is_empty())?;
                return Some(host.to_vec().into());
            }
            KeySource::All(sources) => {
                let mut all = Vec::new();
                for (position, source) in sources.iter().enumerate() {
                    if position > 0 {
                        all.push(0);
                    }
                    all.extend_from_slice(&self.key(source)?);
                }
                return Some(all.into());
            }
        };
        let value = match capture {
            Some(capture) => capture.find(value)?,
            None => value,
        };
        (!value.is_empty()).then_some(Cow::Borrowed(value))
    }

    /// The anonymous id of this visitor: the one the cookie brings, else one made now, the same for
    /// every rollout that uses the same cookie. A preflight is no visitor of its own.
    pub fn anonymous_id(&self, cookie: &'a SetCookie, hand_out: bool) -> Option<Cow<'a, [u8]>> {
        if let Some(id) = self.cookie(&cookie.name).filter(|id| !id.is_empty()) {
            return Some(Cow::Borrowed(id));
        }
        let mut issued = self.issued.borrow_mut();
        if let Some(earlier) = issued.iter_mut().find(|earlier| earlier.cookie.name == cookie.name)
        {
            earlier.hand_out |= hand_out;
            return Some(Cow::Owned(earlier.id.clone().into_bytes()));
        }
        if self.is_preflight() {
            return None;
        }
        let id = self.surroundings.new_id(&cookie.name)?.iter().fold(
            String::with_capacity(32),
            |mut id, byte| {
                // Writing to a String cannot fail.
                let _ = write!(id, "{byte:02x}");
                id
            },
        );
        issued.push(Issued { cookie, id: id.clone(), hand_out });
        Some(Cow::Owned(id.into_bytes()))
    }

    /// The anonymous ids made for this request.
    pub fn issued(&self) -> Ref<'_, Vec<Issued<'a>>> {
        self.issued.borrow()
    }

    fn target(&self) -> &'a [u8] {
        self.headers.first(":path").unwrap_or_default()
    }
}

/// An authority without its port: `shop.example.com:8080`, `[::1]:80`.
fn without_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = authority.iter().rposition(|&byte| byte == b':') else { return authority };
    let (host, port) = authority.split_at(colon);
    let is_port = port.iter().skip(1).all(u8::is_ascii_digit);
    if is_port {
        host
    } else {
        authority
    }
}
