//! Conditions, keys, cookies and headers.

use super::{config, good, lines, says};
use cohort::config::Config;

#[test]
fn a_condition_states_something_that_can_be() {
    says(
        r#""match": [{}, {"method": []}, {"address": ["10.0.0.0/33"]}, {"header": {}}, {"not": {}}, {"cookie": {"a;b": {"exact": ""}}}]"#,
        &[
            "~.match[0]: found an empty condition, allowed: a condition with one part or more of host, path, method, \
             header, cookie, query, address, not",
            "~.match[1].method: found an empty list, allowed: a list with one entry or more",
            "~.match[2].address[0]: found \"10.0.0.0/33\", allowed: an address or a network in CIDR notation, such \
             as 10.0.0.0/8",
            "~.match[3].header: found an empty object, allowed: an object with one entry or more",
            "~.match[4].not: found an empty condition, allowed: a condition with one part or more of host, path, \
             method, header, cookie, query, address, not",
            "~.match[5].cookie[\"a;b\"]: found the key \"a;b\", allowed: a cookie name of 1 to 256 letters, digits \
             and !#$%&'*+-.^_`|~",
        ],
    );
    says(
        r#""match": []"#,
        &["~.match: found an empty list, allowed: a list with one entry or more"],
    );
    says(
        r#""match": {"path": {"exact": "/"}}"#,
        &["~.match: found an object, allowed: a list with one entry or more"],
    );
    says(
        r#""match": [{"method": ["get"]}, {"header": {"X-A": {"present": true}, "x-a": {"present": true}}}]"#,
        &[
            "~.match[0].method[0]: found \"get\", allowed: a method in upper case, such as GET (did you mean GET?)",
            "~.match[1].header[\"x-a\"]: found a duplicate key, allowed: each key once",
        ],
    );
    good(
        r#""match": [{"not": {"not": {"query": {"a": {"in": ["", "b"]}}, "address": ["::1", "10.1.2.3", "fd00::/8"]}}}]"#,
    );
}

#[test]
fn a_text_is_compared_by_exactly_one() {
    says(
        r#""match": [{"path": {}}, {"path": {"exact": "/", "prefix": "/"}}, {"path": {"ignoreCase": true}}]"#,
        &[
            "~.match[0].path: found an empty object, allowed: exactly one of exact, prefix, suffix, contains, regex, \
             in, present, semver",
            "~.match[1].path: found exact and prefix, allowed: exactly one of exact, prefix, suffix, contains, \
             regex, in, present, semver",
            "~.match[2].path: found an object, allowed: exactly one of exact, prefix, suffix, contains, regex, in, \
             present, semver",
        ],
    );
    says(
        r#""match": [{"path": "/checkout"}]"#,
        &["~.match[0].path: found a string, allowed: an object with exactly one of exact, prefix, suffix, contains, \
           regex, in, present, semver"],
    );
    says(
        r#""match": [{"path": {"prefix": "shop"}}, {"path": {"contains": "?a"}}, {"host": {"in": ["A.example", "a:80"]}}]"#,
        &[
            "~.match[0].path.prefix: found \"shop\", allowed: a path that starts with / and has no query string",
            "~.match[1].path.contains: found \"?a\", allowed: a path that starts with / and has no query string",
            "~.match[2].host.in[1]: found \"a:80\", allowed: a host without a port, for ports are not compared",
        ],
    );
    good(
        r#""match": [{"host": {"exact": "[::1]"}}, {"path": {"exact": "*"}}, {"host": {"suffix": ".Example.COM"}}]"#,
    );
}

#[test]
fn a_regular_expression_is_bounded() {
    let regex =
        |regex: &str| lines(&config(&format!(r#""match": [{{"path": {{"regex": "{regex}"}}}}]"#)));
    let allowed = "allowed: a regular expression of at most 1000 characters, without look-around and back-references";
    assert!(regex("^/v[0-9]+/").is_empty());
    assert_eq!(
        regex(&"a".repeat(1001)),
        [format!("$.rollouts[0].match[0].path.regex: found a regular expression of 1001 characters, {allowed}")]
    );
    for bad in ["(", "(?=a)", "(a)\\\\1", "(((a{100}){100}){100})"] {
        let lines = regex(bad);
        assert_eq!(lines.len(), 1, "{bad}");
        let start =
            "$.rollouts[0].match[0].path.regex: found a regular expression that does not compile (";
        assert!(lines[0].starts_with(start) && lines[0].ends_with(allowed), "{}", lines[0]);
    }
}

#[test]
fn a_key_is_read_in_one_place_at_a_time() {
    let keys = |keys: &str| {
        lines(&format!(
            r#"{{"rollouts": [{{"name": "a", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 1}}], "hashKey": {keys}}}]}}"#
        ))
    };
    let at = "$.rollouts[0].hashKey";
    assert_eq!(
        keys("[]"),
        [format!("{at}: found an empty list, allowed: a list with one entry or more")]
    );
    assert_eq!(
        keys(r#"[{"header": "a", "cookie": "b"}, {}, {"address": false}, {"header": ":path"}, {"query": "a=b"}]"#),
        [
            format!("{at}[0]: found header and cookie, allowed: exactly one of header, cookie, query, address, host, all"),
            format!("{at}[1]: found an empty object, allowed: exactly one of header, cookie, query, address, host, all"),
            format!("{at}[2].address: found false, allowed: true"),
            format!(
                "{at}[3].header: found \":path\", allowed: a header name of 1 to 256 letters, digits and \
                 !#$%&'*+-.^_`|~ other than host"
            ),
            format!(
                "{at}[4].query: found \"a=b\", allowed: a query parameter's name as it stands in a URL, without \
                 & = # and spaces"
            ),
        ]
    );
    assert!(keys(r#"[{"header": "X-User"}, {"cookie": "a"}, {"query": "q"}, {"address": true}]"#)
        .is_empty());
}

#[test]
fn a_signing_key_is_base64_with_padding_or_without() {
    for key in [
        "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ==",
        "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ",
    ] {
        let text =
            config(&format!(r#""pin": {{"cookie": {{"name": "a"}}, "signingKey": "{key}"}}"#));
        let config = Config::from_json(text.as_bytes()).unwrap();
        let key = config.rollouts[0].pin.as_ref().and_then(|pin| pin.signing_key.clone()).unwrap();
        assert_eq!(key, b"sixteen-bytes-or-more-of-random");
    }
    let without_key = r#"{"rollouts": [{"name": "a", "versions": [{"name": "a"}, {"name": "b", "weight": 1}],
        "pin": {"cookie": {"name": "a"}, "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3Jl"}}]}"#;
    assert_eq!(
        lines(without_key),
        ["$.rollouts[0].pin: found signingKey without hashKey or anonymousId, allowed: a signed pin where users have \
          a key"]
    );
}

#[test]
fn a_cookie_is_one_that_browsers_take() {
    let cookie = |attributes: &str, expected: &[&str]| {
        says(&format!(r#""pin": {{"cookie": {{{attributes}}}}}"#), expected);
    };
    cookie(
        r#""name": "a b", "path": "x", "domain": ".Example.com", "maxAge": "500ms", "sameSite": "lax""#,
        &[
            "~.pin.cookie.name: found \"a b\", allowed: a cookie name of 1 to 256 letters, digits and \
             !#$%&'*+-.^_`|~",
            "~.pin.cookie.path: found \"x\", allowed: a path that starts with /, without ; and control characters",
            "~.pin.cookie.domain: found \".Example.com\", allowed: a host name in lower case, such as example.com \
             (did you mean example.com?)",
            "~.pin.cookie.maxAge: found \"500ms\", allowed: a duration from 1s to 3650d in whole seconds, such as \
             30s, 10m, 1h or 7d",
            "~.pin.cookie.sameSite: found \"lax\", allowed: Strict, Lax or None (did you mean Lax?)",
        ],
    );
    cookie(
        r#""name": "a", "secure": false, "sameSite": "None""#,
        &["~.pin.cookie.secure: found false, allowed: true, because sameSite is None"],
    );
    cookie(
        r#""name": "a", "secure": false, "partitioned": true"#,
        &["~.pin.cookie.secure: found false, allowed: true, because partitioned is true"],
    );
    cookie(
        r#""name": "__Host-a", "secure": false, "path": "/a", "domain": "example.com""#,
        &[
            "~.pin.cookie.secure: found false, allowed: true, because of the cookie's name",
            "~.pin.cookie.path: found \"/a\", allowed: /, because of the cookie's name",
            "~.pin.cookie.domain: found a domain, allowed: none, because of the cookie's name",
        ],
    );
    cookie(
        r#""name": "__Secure-a", "secure": false"#,
        &["~.pin.cookie.secure: found false, allowed: true, because of the cookie's name"],
    );
    cookie(r#""name": "__Host-a", "maxAge": "2000ms""#, &[]);
}

#[test]
fn a_header_of_ours_is_nobody_elses() {
    says(
        r#""output": {"routeHeader": "Host", "clusterHeader": "x-envoy-cluster", "responseHeader": "set-cookie", "reasonHeader": ":status"}"#,
        &["routeHeader", "clusterHeader", "responseHeader", "reasonHeader"]
            .iter()
            .zip(["Host", "x-envoy-cluster", "set-cookie", ":status"])
            .map(|(key, name)| {
                format!(
                    "~.output.{key}: found \"{name}\", allowed: a header name of 1 to 256 letters, digits and \
                     !#$%&'*+-.^_`|~ that neither HTTP nor the proxy needs for itself (host, connection, cookie, \
                     authorization, baggage, x-request-id, x-forwarded-*, x-envoy-* and the like)"
                )
            })
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    says(
        r#""output": {"responseHeader": "x-a", "reasonHeader": "X_A"}"#,
        &["~.output.reasonHeader: found the response header again, allowed: a header of its own"],
    );
    let text = r#"{"rollouts": [{"name": "a", "versions": [
        {"name": "a", "cluster": "c", "requestHeaders": {"X-Cohort-A": "1", "x-f": "a\nb"}},
        {"name": "b", "cluster": "d", "weight": 1, "requestHeaders": {"x-c": ""}}],
        "output": {"clusterHeader": "x-c"}}]}"#;
    assert_eq!(
        lines(text),
        [
            "$.rollouts[0].versions[0].requestHeaders[\"X-Cohort-A\"]: found the route header again, allowed: a \
             header of its own",
            "$.rollouts[0].versions[0].requestHeaders[\"x-f\"]: found \"a\\u000ab\", allowed: text without control \
             characters and without spaces at either end",
            "$.rollouts[0].versions[1].requestHeaders[\"x-c\"]: found the cluster header again, allowed: a header \
             of its own",
        ]
    );
    says(
        r#""overrides": {"header": "x-o", "require": {"secretHeader": "X-Cohort-Shop", "secretSha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}}"#,
        &["~.overrides.require.secretHeader: found \"X-Cohort-Shop\", which $.rollouts[0] sets, allowed: a header of \
           its own"],
    );
}

#[test]
fn clusters_and_their_header_come_together() {
    says(
        r#""output": {"clusterHeader": "x-c"}"#,
        &[
            "~.versions[0]: found no cluster, allowed: a cluster for every version, because output has a \
             clusterHeader",
            "~.versions[1]: found no cluster, allowed: a cluster for every version, because output has a \
             clusterHeader",
        ],
    );
    let text = r#"{"rollouts": [{"name": "a", "versions": [{"name": "a", "cluster": "c"}, {"name": "b", "weight": 1}]}]}"#;
    assert_eq!(
        lines(text),
        ["$.rollouts[0].versions[0].cluster: found a cluster, allowed: no cluster, because output has no \
          clusterHeader to carry it"]
    );
}

#[test]
fn the_host_is_no_header() {
    let allowed =
        "allowed: a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~ other than host";
    let named = r#"{"rollouts": [{"name": "a", "versions": [{"name": "a"}, {"name": "b", "weight": 1}],
            "hashKey": [{"header": "Host"}, {"host": true}]}]}"#;
    assert_eq!(
        lines(named),
        [format!(
            "$.rollouts[0].hashKey[0].header: found \"Host\", {allowed} (did you mean {{\"host\": true}}?)"
        )]
    );
    says(
        r#""match": [{"header": {"host": {"exact": "a"}}}], "overrides": {"header": "HOST"}"#,
        &[
            &format!(
                "~.match[0].header.host: found the key \"host\", {allowed} (did you mean the condition's own key \
                 host?)"
            ),
            &format!("~.overrides.header: found \"HOST\", {allowed}"),
        ],
    );
}

#[test]
fn a_key_has_parts_and_a_capture_has_one_group() {
    let keys = |keys: &str| {
        lines(&format!(
            r#"{{"rollouts": [{{"name": "a", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 1}}], "hashKey": {keys}}}]}}"#
        ))
    };
    let at = "$.rollouts[0].hashKey";
    let group = "allowed: a regular expression of at most 1000 characters with exactly one group, without look-around \
                 and back-references";
    assert_eq!(
        keys(r#"[{"all": []}, {"all": [{"header": "a"}, {}]}, {"all": [{"host": true}], "host": true},
            {"header": "a", "capture": "a"}, {"query": "a", "capture": "(a)(b)"}, {"address": true, "capture": "(a)"},
            {"capture": "(a)"}, {"host": false}]"#),
        [
            format!("{at}[0].all: found an empty list, allowed: a list with one entry or more"),
            format!(
                "{at}[1].all[1]: found an empty object, allowed: exactly one of header, cookie, query, address, host, all"
            ),
            format!("{at}[2]: found host and all, allowed: exactly one of header, cookie, query, address, host, all"),
            format!("{at}[3].capture: found a regular expression without a group, {group}"),
            format!("{at}[4].capture: found a regular expression with 2 groups, {group}"),
            format!("{at}[5].capture: found a capture beside address, allowed: a capture beside header, cookie or query"),
            format!("{at}[6]: found an object, allowed: exactly one of header, cookie, query, address, host, all"),
            format!("{at}[7].host: found false, allowed: true"),
        ]
    );
    let good = r#"[{"all": [{"header": "t"}, {"cookie": "_ga", "capture": "([0-9]+)$"}, {"all": [{"host": true}, {"address": true}]}]}]"#;
    assert_eq!(keys(good), Vec::<String>::new());
}

#[test]
fn a_version_is_compared_where_there_can_be_one() {
    let allowed = "allowed: comparisons of a version by =, >, >=, < and <=, such as >=2.3.0 <3";
    says(
        r#""match": [{"header": {"x-app": {"semver": "^2"}}, "cookie": {"v": {"semver": ""}}, "query": {"v": {"semver": ">=v1"}}}]"#,
        &[
            &format!("~.match[0].header[\"x-app\"].semver: found \"^2\", {allowed}"),
            &format!("~.match[0].cookie.v.semver: found \"\", {allowed}"),
            &format!("~.match[0].query.v.semver: found \">=v1\", {allowed}"),
        ],
    );
    says(
        r#""match": [{"path": {"semver": ">=2"}}]"#,
        &["~.match[0].path.semver: found \">=2\", allowed: another comparison: only a header, a cookie or a query \
           parameter is a version"],
    );
    good(r#""match": [{"header": {"x-app": {"semver": " >= 2.3.0  <3 "}}}]"#);
}

#[test]
fn a_pin_keeps_users_on_versions_that_there_are() {
    says(
        r#""pin": {"cookie": {"name": "p"}, "versions": ["canari", "stable", "stable"]}"#,
        &[
            "~.pin.versions[0]: found \"canari\", allowed: stable, canary (did you mean canary?)",
            "~.pin.versions[2]: found \"stable\" again, allowed: each name once",
        ],
    );
    says(
        r#""pin": {"cookie": {"name": "p"}, "versions": []}"#,
        &["~.pin.versions: found an empty list, allowed: a list with one entry or more"],
    );
}

#[test]
fn a_pin_is_not_the_cookie_that_a_key_is_read_from() {
    says(
        r#""pin": {"cookie": {"name": "uid"}}, "anonymousId": {"cookie": {"name": "uid"}}"#,
        &["~.pin.cookie.name: found \"uid\", which $.rollouts[0] uses too, allowed: a cookie of its own"],
    );
}

#[test]
fn those_who_bring_a_decision_are_named() {
    says(
        r#""inherit": {"baggage": true}"#,
        &["~.inherit: found neither addresses nor principals, allowed: one of them or both"],
    );
    says(
        r#""inherit": {"principals": ["cluster.local/ns/shop/sa/web", "spiffe://a/ns/*"]}"#,
        &[
            "~.inherit.principals[0]: found \"cluster.local/ns/shop/sa/web\", allowed: a SPIFFE id such as \
             spiffe://cluster.local/ns/shop/sa/web, or how it begins up to a /",
            "~.inherit.principals[1]: found \"spiffe://a/ns/*\", allowed: a SPIFFE id such as \
             spiffe://cluster.local/ns/shop/sa/web, or how it begins up to a /",
        ],
    );
    good(r#""inherit": {"principals": ["spiffe://a/ns/shop/sa/web", "spiffe://a/ns/"]}"#);
}

#[test]
fn a_header_of_ours_is_no_vital_one_in_another_spelling() {
    for name in [
        "-path",
        "_method",
        "~authority",
        "content_length",
        "X_Forwarded.For",
        "x_request_id",
        "set.cookie",
    ] {
        let found = lines(&format!(
            r#"{{"rollouts": [{{"name": "a", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 1}}],
                "hashKey": [{{"header": "u"}}], "output": {{"responseHeader": "{name}"}}}}]}}"#
        ));
        let start = format!(
            "$.rollouts[0].output.responseHeader: found \"{name}\", allowed: a header name"
        );
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }
}
