//! What a rollout writes, and the cookies that it reads: one list of each, for all that must know it.
//!
//! The lists take their structs apart, so that a new field does not compile before it is in them, or is said to
//! be none of them.

use crate::bucket::VersionIndex;
use crate::http::{HeaderName, SetCookie};

use super::{
    Condition, Inherit, KeySource, Output, Overrides, Pin, Require, Rollout, Rule, SecretHeader,
    Version,
};

/// A header that a rollout writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    pub header: &'a HeaderName,
    pub content: Content<'a>,
}

/// What stands in a header that a rollout writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// On the request: the version's name.
    Route,
    /// On the request: the version's cluster.
    Cluster,
    /// On the request, where it gets this version: this text.
    Own(VersionIndex, &'a str),
    /// On the response: the version's name.
    Response,
    /// On the response: the reason.
    Reason,
}

impl Content<'_> {
    /// Whether the request carries it; else the response does.
    pub const fn is_on_request(self) -> bool {
        match self {
            Self::Route | Self::Cluster | Self::Own(..) => true,
            Self::Response | Self::Reason => false,
        }
    }

    /// Whether it decides where the request goes.
    pub const fn routes(self) -> bool {
        matches!(self, Self::Route | Self::Cluster)
    }
}

/// The headers that decisions write where `output` says, and with these `versions`.
pub(super) fn writes<'a>(
    output: &'a Output,
    versions: &'a [Version],
) -> impl Iterator<Item = Write<'a>> {
    // The baggage is a header of many: our member goes into it.
    let Output { route_header, cluster_header, response_header, reason_header, baggage: _ } =
        output;
    let of = |content| move |header| Write { header, content };
    let own = versions.iter().enumerate().flat_map(|(index, version)| {
        let Version { name: _, cluster: _, drain: _, revision: _, request_headers } = version;
        let write = move |(header, text): &'a (HeaderName, String)| Write {
            header,
            content: Content::Own(index, text),
        };
        request_headers.iter().map(write)
    });
    std::iter::once(route_header)
        .map(of(Content::Route))
        .chain(cluster_header.iter().map(of(Content::Cluster)))
        .chain(own)
        .chain(response_header.iter().map(of(Content::Response)))
        .chain(reason_header.iter().map(of(Content::Reason)))
}

/// What a cookie is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieUse {
    Key,
    AnonymousId,
    Pin,
    Override,
    Condition,
}

impl Rollout {
    /// Every header that decisions of this rollout write, in the order in which they are written.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        writes(&self.output, &self.versions)
    }

    /// What each request header says where the request gets `version`.
    pub fn on_request(&self, version: VersionIndex) -> impl Iterator<Item = (Write<'_>, &str)> {
        let it = self.versions.get(version);
        self.writes().filter_map(move |write| {
            let value = match write.content {
                Content::Route => it?.name.as_str(),
                Content::Cluster => it?.cluster.as_deref()?,
                Content::Own(own, text) if own == version => text,
                Content::Own(..) | Content::Response | Content::Reason => return None,
            };
            Some((write, value))
        })
    }

    /// What each response header says where the request got `version` for `reason`.
    pub fn on_response<'a>(
        &'a self,
        version: VersionIndex,
        reason: &'a str,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a str)> {
        let name = self.versions.get(version).map_or("", |version| version.name.as_str());
        self.writes().filter_map(move |write| match write.content {
            Content::Response => Some((write.header, name)),
            Content::Reason => Some((write.header, reason)),
            Content::Route | Content::Cluster | Content::Own(..) => None,
        })
    }

    /// The header of the overrides' secret, which no upstream sees.
    pub fn secret_header(&self) -> Option<&HeaderName> {
        let Require { addresses: _, secret } = &self.overrides.as_ref()?.require;
        let SecretHeader { header, sha256: _ } = secret.as_ref()?;
        Some(header)
    }

    /// Shows every cookie that a decision reads, and what for.
    pub fn each_cookie<'a>(&'a self, see: &mut impl FnMut(&'a str, CookieUse)) {
        let Self {
            name: _,
            fingerprint: _,
            enabled: _,
            mode: _,
            matches,
            versions: _,
            stable: _,
            split: _,
            hash_key,
            salt: _,
            scheme: _,
            anonymous_id,
            pin,
            overrides,
            inherit,
            rules,
            ramp: _,
            guard: _,
            analysis: _,
            health: _,
            output: _,
        } = self;
        if let Some(Inherit { addresses: _, principals: _, baggage: _ }) = inherit {}
        let ruled = rules.iter().filter_map(|rule| {
            let Rule { name: _, segment: _, matches, choice: _ } = rule;
            matches.as_ref()
        });
        for condition in matches.iter().chain(ruled).flatten() {
            condition.each_cookie(&mut |name| see(name, CookieUse::Condition));
        }
        each_handed(hash_key, anonymous_id.as_ref(), pin.as_ref(), overrides.as_ref(), see);
    }
}

/// The part of [`Rollout::each_cookie`] that is not in conditions.
pub(super) fn each_handed<'a>(
    hash_key: &'a [KeySource],
    anonymous_id: Option<&'a SetCookie>,
    pin: Option<&'a Pin>,
    overrides: Option<&'a Overrides>,
    see: &mut impl FnMut(&'a str, CookieUse),
) {
    for source in hash_key {
        source.each_cookie(&mut |name| see(name, CookieUse::Key));
    }
    if let Some(cookie) = anonymous_id {
        see(&cookie.name, CookieUse::AnonymousId);
    }
    if let Some(Pin { cookie, versions: _, generation: _, signing_key: _ }) = pin {
        see(&cookie.name, CookieUse::Pin);
    }
    if let Some(Overrides { header: _, query: _, cookie: Some(name), values: _, require: _ }) =
        overrides
    {
        see(name, CookieUse::Override);
    }
}

impl KeySource {
    fn each_cookie<'a>(&'a self, see: &mut dyn FnMut(&'a str)) {
        match self {
            Self::Cookie(name, _) => see(name),
            Self::All(sources) => {
                for source in sources {
                    source.each_cookie(see);
                }
            }
            Self::Header(..) | Self::Query(..) | Self::Address | Self::Host => {}
        }
    }
}

impl Condition {
    /// Shows every cookie that the condition looks at.
    pub fn each_cookie<'a>(&'a self, see: &mut impl FnMut(&'a str)) {
        let mut part = Some(self);
        while let Some(condition) = part {
            let Self {
                host: _,
                path: _,
                method: _,
                headers: _,
                cookies,
                query: _,
                address: _,
                not,
            } = condition;
            for (name, _) in cookies {
                see(name);
            }
            part = not.as_deref();
        }
    }
}
