//! The attributes of a cookie that we hand out: `pin.cookie` and `anonymousId.cookie`.

use crate::http::cookie::SameSite;
use crate::http::SetCookie;

use super::place::{Place, Problems};
use super::read::{Field, Text};
use super::scalar::{Span, LONGEST};
use super::shape::{read_by_shape, shape, text};
use super::text::{has_control, CookieName};

shape! {
    /// A cookie that is handed out.
    CookieShape: "an object with the cookie's name" {
        /// The cookie's name.
        "name" name: required CookieName,
        /// The paths for which browsers send it back.
        "path" path: defaulted CookiePath = "/",
        /// The domain for which browsers send it back, its subdomains included; absent, the host alone.
        "domain" domain: optional Domain,
        /// How long browsers keep it; absent, until they are closed.
        "maxAge" max_age: optional Span<1000, LONGEST, 1000>,
        /// Whether browsers send it over https only; absent, if the request came over https.
        "secure" secure: optional bool,
        /// Whether scripts in the page cannot see it.
        "httpOnly" http_only: defaulted bool = true,
        /// Whether browsers send it with requests from other sites; None needs https.
        "sameSite" same_site: defaulted SameSite = "Lax",
        /// Whether browsers keep one for each site that embeds the page; needs https.
        "partitioned" partitioned: defaulted bool = false,
    }
}

read_by_shape!(SetCookie, CookieShape, check);

fn check(shape: CookieShape, at: &Place<'_>, problems: &mut Problems) -> Option<SetCookie> {
    let name = shape.name.as_given().map_or("", |name| &name.0);
    let has_prefix = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    let host_only = has_prefix("__Host-");
    let why = if matches!(shape.same_site, Field::Given(SameSite::None)) {
        Some("because sameSite is None")
    } else if matches!(shape.partitioned, Field::Given(true)) {
        Some("because partitioned is true")
    } else if host_only || has_prefix("__Secure-") {
        Some("because of the cookie's name")
    } else {
        None
    };
    if let (Some(why), Field::Given(false)) = (why, &shape.secure) {
        problems.add(&at.at("secure"), "false".to_owned(), format!("true, {why}"));
    }
    if host_only && shape.path.as_given().is_some_and(|path| path.0 != "/") {
        let found = at.at("path").value().shown();
        problems.add(&at.at("path"), found, "/, because of the cookie's name".to_owned());
    }
    if host_only && !shape.domain.is_absent() {
        problems.add(
            &at.at("domain"),
            "a domain".to_owned(),
            "none, because of the cookie's name".to_owned(),
        );
    }
    // Browsers drop such a cookie without `Secure`, also one that came over http.
    let secure = shape.secure.given().or(why.map(|_| true));
    Some(SetCookie {
        name: shape.name.given()?.0,
        path: shape.path.given()?.0,
        domain: shape.domain.given().map(|domain| domain.0),
        max_age: shape.max_age.given().map(|length| length.0 / 1000),
        secure,
        http_only: shape.http_only.given()?,
        same_site: shape.same_site.given()?,
        partitioned: shape.partitioned.given()?,
    })
}

text! {
    /// A `Path` attribute.
    CookiePath: "a path that starts with /, without ; and control characters",
    "^/[^;\\u0000-\\u001f\\u007f]*$",
    |text| text.starts_with('/') && !text.contains(';') && !has_control(text)
}

/// A `Domain` attribute: a host name.
pub(super) struct Domain(pub(super) String);

impl Text for Domain {
    const ALLOWED: &'static str = "a host name in lower case, such as example.com";
    const PATTERN: &'static str =
        "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$";

    fn parse(text: &str) -> Option<Self> {
        let labels = text.split('.').all(|label| super::text::Name::parse(label).is_some());
        (labels && text.len() <= 253).then(|| Self(text.to_owned()))
    }

    fn meant(text: &str) -> Option<String> {
        let plain = text.trim_matches('.').to_ascii_lowercase();
        Self::parse(&plain).map(|domain| domain.0)
    }
}

impl Text for SameSite {
    const ALLOWED: &'static str = "Strict, Lax or None";
    const WORDS: &'static [&'static str] = &["Strict", "Lax", "None"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "Strict" => Some(Self::Strict),
            "Lax" => Some(Self::Lax),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}
