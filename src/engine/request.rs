//! A request as a decision sees it.

use std::borrow::Cow;
use std::cell::{OnceCell, Ref, RefCell};
use std::fmt::Write;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::config::KeySource;
use crate::http::{cookie, query, HeaderName, Headers, SetCookie};

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
}

/// A request, read lazily: nothing is parsed that no condition and no key asks for.
pub struct Request<'a> {
    plan: &'a Plan,
    headers: &'a Headers,
    surroundings: &'a dyn Surroundings,
    address: OnceCell<Option<IpAddr>>,
    host: OnceCell<Option<SmallVec<[u8; 64]>>>,
    /// The value of each of the plan's cookie names, by position.
    cookies: OnceCell<SmallVec<[Option<&'a [u8]>; 8]>>,
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
            address: OnceCell::new(),
            host: OnceCell::new(),
            cookies: OnceCell::new(),
            issued: RefCell::default(),
        }
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
        let value = match source {
            KeySource::Header(name) => self.header(name)?,
            KeySource::Cookie(name) => self.cookie(name)?,
            KeySource::Query(name) => self.query(name)?,
            KeySource::Address => return Some(self.address()?.to_string().into_bytes().into()),
        };
        (!value.is_empty()).then_some(Cow::Borrowed(value))
    }

    /// The anonymous id of this visitor: the one the cookie brings, else one made now, the same for
    /// every rollout that uses the same cookie.
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
        let id =
            self.surroundings.random()?.iter().fold(String::with_capacity(32), |mut id, byte| {
                // Writing to a String cannot fail.
                let _ = write!(id, "{byte:02x}");
                id
            });
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
