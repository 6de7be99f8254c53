"""What docs/threat-model.md promises, on a real Envoy."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.bootstrap import ENVOY_DIR
from lab.envoy import COMMAND, ConfigRefused, Envoy
from lab.service import Service
from lab.until import until
from lab.wire import get, get_http2, request
from rude import Rude, Said, say

REPOSITORY = ENVOY_DIR.parent

#: Every byte that may stand in a header's name beside letters and digits (RFC 9110, section 5.6.2).
PUNCTUATION = "!#$%&'*+-.^_`|~"


@pytest.fixture(scope="module")
async def bare(launch: Launch):
    """An Envoy before an upstream that says what reached it, byte for byte; limits raised."""

    def edit(boot: dict[str, Any]) -> None:
        manager = bootstrap.connection_manager(boot)
        manager["max_request_headers_kb"] = 512
        manager["common_http_protocol_options"] = {"max_headers_count": 20_000}
        manager["http_protocol_options"] = {"enable_trailers": True}

    async with Rude() as rude:
        clusters = {"checkout-v1": rude.address, "checkout-v2": rude.address}
        yield await launch(config=config(rollout(0)), clusters=clusters, edit=edit)


def ours(said: Said, name: str = "x-cohort-checkout") -> list[bytes]:
    """What reached the upstream under any spelling of a header of ours."""
    return [value for found, value in said.reached() if re.sub(b"[^a-z0-9]", b"-", found) == name.encode()]


# --- a client that forges ------------------------------------------------------------------------------


async def test_no_punctuation_and_no_case_makes_a_name_that_passes(bare: Envoy):
    both = rollout(0, output={"clusterHeader": "x-cohort-cluster", "reasonHeader": "x-why"})
    both["versions"] = [{"name": "stable", "cluster": "v1"}, {"name": "canary", "weight": 0, "cluster": "v2"}]
    await bare.configure(config(both))
    names = [f"x{one}cohort{two}checkout" for one in PUNCTUATION for two in PUNCTUATION]
    names += [name.upper() for name in names] + [f"X{one}Why" for one in PUNCTUATION]
    names += [f"x{one}cohort{one}cluster" for one in PUNCTUATION]
    said = await say(bare.address, request("/", [(name, "canary") for name in names]))
    assert said.status == 200
    assert (ours(said), ours(said, "x-cohort-cluster"), ours(said, "x-why")) == ([b"stable"], [b"v1"], [])


@pytest.mark.parametrize(
    "line",
    [
        b"x-cohort-checkout : canary",
        b"x-cohort-checkout\t: canary",
        b" x-cohort-checkout: canary",
        b"\tx-cohort-checkout: canary",
        b"x-other: a\r\n x-cohort-checkout: canary",
        b"x-other: a\rx-cohort-checkout: canary",
        b"x-other: a\nx-cohort-checkout: canary",
        b"x-other: a\0x-cohort-checkout: canary",
        b"x-cohort-checkout\0: canary",
        b"x-cohort-checkout\xc2\xa0: canary",
        b"x-cohort-checkout:canary",
        b"x-cohort-checkout:\t canary \t",
    ],
)
async def test_white_space_and_line_ends_hide_no_header(bare: Envoy, line: bytes):
    await bare.configure(config(rollout(0)))
    said = await say(bare.address, b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\nx-user-id: u\r\n\r\n")
    assert said.status in (200, 400)
    if said.status == 200:
        assert ours(said) == [b"stable"]


@pytest.mark.parametrize("nominated", ["x-cohort-checkout", "keep-alive, x-cohort-checkout", "close, x-cohort-cluster"])
async def test_a_header_nominated_by_connection_is_written_all_the_same(bare: Envoy, nominated: str):
    """`Connection` names headers that a proxy takes away before the next hop: it does so before we write."""
    both = rollout(100, output={"clusterHeader": "x-cohort-cluster"})
    both["versions"] = [{"name": "stable", "cluster": "v1"}, {"name": "canary", "weight": 100, "cluster": "v2"}]
    await bare.configure(config(both))
    headers = [("Connection", nominated), ("x-user-id", "u"), ("x-cohort-checkout", "stable")]
    said = await say(bare.address, request("/", headers))
    assert (ours(said), ours(said, "x-cohort-cluster")) == ([b"canary"], [b"v2"])


async def test_a_smuggled_second_request_is_none(bare: Envoy):
    """Two lengths of one body: what a lax proxy takes for a second request, with our header in it."""
    await bare.configure(config(rollout(0)))
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nx-cohort-checkout: canary\r\n\r\n"
    for lines in (
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(inner) + 5),
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\n0\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner),
    ):
        reader, writer = await asyncio.open_connection(*bare.address)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + inner)
        writer.write_eof()
        answers = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        reached = answers.lower().count(b"x-cohort-checkout: canary")
        assert reached == 0, answers


async def test_trailers_of_http1_are_cleaned_too(launch: Launch):
    async with Service("checkout-v1", http2=True) as service:

        def edit(boot: dict[str, Any]) -> None:
            bootstrap.connection_manager(boot)["http_protocol_options"] = {"enable_trailers": True}
            kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            options = {"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}}
            bootstrap.cluster(boot, "checkout-v1")["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
            }

        proxy = await launch(config=config(rollout(0)), clusters={"checkout-v1": service.address}, edit=edit)
        said = await say(
            proxy.address,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n1\r\na\r\n0\r\n"
            b"X-Cohort-Checkout: canary\r\nx_cohort_checkout: \xff\r\nbaggage: cohort-checkout=canary\r\n"
            b"x-sum: 1\r\n\r\n",
        )
        assert said.status == 200
        assert json.loads(said.body)["trailers"] == [["x-sum", "1"]]


async def test_baggage_over_several_lines_and_encodings_names_no_version(bare: Envoy):
    await bare.configure(config(rollout(0, output={"baggage": True})))
    encoded = "".join(f"%{byte:02x}" for byte in b"cohort-checkout")
    lines = ["a=1", "cohort-checkout=canary", f"{encoded}=canary,b=2", f"{encoded.upper()}=canary;p"]
    lines += ["cohort%252dcheckout=canary", ",,cohort-checkout=canary,,", "cohort-checkout = canary , c=3"]
    said = await say(bare.address, request("/", [("baggage", line) for line in lines] + [("x-user-id", "u")]))
    members = [one.strip() for line in ours(said, "baggage") for one in line.split(b",")]
    assert sorted(members) == [b"a=1", b"b=2", b"c=3", b"cohort-checkout=stable"]


async def test_an_address_in_x_forwarded_for_is_nobodys(bare: Envoy):
    """As `envoy/envoy.yaml` has it, the peer's own address is the client's."""
    overrides = {"header": "x-canary", "require": {"addresses": ["10.0.0.0/8"]}}
    inherit = {"addresses": ["10.0.0.0/8"], "baggage": True}
    rules = [{"name": "office", "match": [{"address": ["10.0.0.0/8"]}], "version": "canary"}]
    await bare.configure(config(rollout(0, overrides=overrides, inherit=inherit, rules=rules)))
    forged = ["10.0.0.1", "10.0.0.1, 127.0.0.1", "127.0.0.1, 10.0.0.1"]
    for address in forged:
        headers = [
            ("x-forwarded-for", address), ("x-real-ip", address), ("forwarded", f"for={address}"),
            ("x-envoy-external-address", address), ("x-canary", "canary"), ("x-cohort-checkout", "canary"),
            ("baggage", "cohort-checkout=canary"), ("x-user-id", "u"),
        ]  # fmt: skip
        said = await say(bare.address, request("/", headers))
        assert ours(said) == [b"stable"]


# --- an insider ----------------------------------------------------------------------------------------

SECRET = b"sixteen bytes and some more"
SIGNED = {"cookie": {"name": "pin"}, "signingKey": base64.b64encode(SECRET).decode()}


async def test_a_cookie_jar_is_worth_nothing_to_another_user(proxy: Envoy):
    """Alice has a signed pin to canary. Mallory, whose users are known by a header that the proxy's
    authentication sets, takes all of Alice's cookies and stays where she was."""
    await proxy.configure(config(rollout(50, pin=SIGNED)))
    alice = mallory = None
    for number in range(100):
        reply = await get(proxy.address, headers=[("x-user-id", f"u{number}")])
        if reply.one("x-cohort-checkout") == "canary":
            alice = alice or reply.one("set-cookie").split(";")[0]
        else:
            mallory = mallory or f"u{number}"
    assert alice and mallory
    reply = await get(proxy.address, headers=[("x-user-id", mallory), ("cookie", alice)])
    assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == ("stable", "HASH")


async def test_a_pin_opens_no_version_without_weight(proxy: Envoy):
    """However good its signature, a pin is not a way into what has been taken out of traffic."""
    await proxy.configure(config(rollout(100, pin=SIGNED)))
    pin = (await get(proxy.address, headers=[("x-user-id", "u")])).one("set-cookie").split(";")[0]
    assert pin.startswith("pin=canary.")
    await proxy.configure(config(rollout(0, pin=SIGNED)))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("cookie", pin)])
    assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == ("stable", "HASH")


async def test_guessed_pins_are_worth_nothing(proxy: Envoy):
    await proxy.configure(config(rollout(0.001, pin=SIGNED)))
    at_random = random.Random(7)
    for _ in range(100):
        mac = (
            base64.urlsafe_b64encode(at_random.randbytes(at_random.choice([0, 1, 31, 32, 33, 64]))).decode().rstrip("=")
        )
        reply = await get(proxy.address, headers=[("x-user-id", "u"), ("cookie", f"pin=canary..{mac}")])
        assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == ("stable", "HASH")


# --- a copied configuration, and secrets ---------------------------------------------------------------


async def test_a_copied_configuration_opens_no_override(proxy: Envoy):
    """Who reads the configuration has the digest of the override's secret, and cannot go back from it."""
    secret = secrets.token_hex(16)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    require = {"secretHeader": "x-canary-secret", "secretSha256": digest}
    await proxy.configure(config(rollout(0, overrides={"header": "x-canary", "require": require})))
    assert secret not in json.dumps(proxy.config)
    for guess in (digest, digest.upper(), bytes.fromhex(digest), "", secret[:-1], secret + "0", secret.upper()):
        reply = await get(proxy.address, headers=[("x-canary", "canary"), ("x-canary-secret", guess)])
        # The digest's own bytes may be none that a header can have.
        assert reply.one("x-cohort-checkout") == "stable" or reply.status == 400
    # Two lines are not two guesses: the first counts.
    twice = [("x-canary", "canary"), ("x-canary-secret", "wrong"), ("x-canary-secret", secret)]
    assert (await get(proxy.address, headers=twice)).one("x-cohort-checkout") == "stable"
    reply = await get(proxy.address, headers=[("x-canary", "canary"), ("x-canary-secret", secret)])
    assert reply.one("x-cohort-checkout") == "canary"


KEY, DIGEST, WORD = base64.b64encode(b"a key nobody may see!").decode(), "ab" * 32, "open-sesame-4711"

#: Configurations with secrets in them that are refused, each for a mistake at or beside the secret.
SECRETIVE: dict[str, dict[str, Any]] = {
    "a key that is too short": {"pin": {"cookie": {"name": "pin"}, "signingKey": KEY[:12]}},
    "a key that is not base64": {"pin": {"cookie": {"name": "pin"}, "signingKey": KEY + "?"}},
    "a key in a list": {"pin": {"cookie": {"name": "pin"}, "signingKey": [KEY]}},
    "a key in an object": {"pin": {"cookie": {"name": "pin"}, "signingKey": {KEY: KEY}}},
    "a key under a misspelled name": {"pin": {"cookie": {"name": "pin"}, "signingkey": KEY}},
    "a key beside a mistake": {"pin": {"cookie": {"name": "p n"}, "signingKey": KEY}},
    "a key without an object around it": {"pin": KEY},
    "a digest that is too long": {
        "overrides": {"header": "x", "require": {"secretHeader": "y", "secretSha256": DIGEST + "a"}}
    },
    "a secret instead of its digest": {
        "overrides": {"header": "x", "require": {"secretHeader": "y", "secretSha256": WORD}}
    },
    "a digest alone": {"overrides": {"header": "x", "require": {"secretSha256": DIGEST}}},
    "a digest under a misspelled name": {
        "overrides": {"header": "x", "require": {"secretHeader": "y", "secretSHA256": DIGEST}}
    },
}  # fmt: skip


def told(text: str) -> list[str]:
    """The secrets that a text gives away, whole or in good part."""
    return [secret for secret in (KEY, DIGEST, WORD) for part in (secret[:10], secret[-10:]) if part in text]


@pytest.mark.parametrize("name", SECRETIVE)
async def test_no_error_tells_a_secret(proxy: Envoy, tmp_path: Path, name: str):
    await proxy.configure(config(rollout()))
    mark, bad = len(proxy.filter_log()), config(rollout(**SECRETIVE[name]))
    with pytest.raises(ConfigRefused):
        await proxy.configure(bad)
    lines = proxy.filter_log()[mark:]
    assert any("$.rollouts[0]." in line for line in lines)
    assert not told("\n".join(lines))
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(bad))
    for command in (["validate"], ["explain"], ["simulate"]):
        said = subprocess.run([COMMAND, *command, file], capture_output=True, text=True, timeout=60)
        assert said.returncode != 0 and "$.rollouts[0]." in said.stderr
        assert not told(said.stdout + said.stderr)


async def test_no_torn_document_tells_a_secret(proxy: Envoy):
    text = json.dumps(config(rollout(pin={"cookie": {"name": "pin"}, "signingKey": KEY})))
    at = text.index(KEY)
    for torn in (text[: at + 14], text[: at + len(KEY)], text.replace(KEY, KEY + "\\x"), text.replace(KEY, KEY + "\n")):
        mark = len(proxy.filter_log())
        with pytest.raises(ConfigRefused):
            await proxy.configure(torn)
        assert len(proxy.filter_log()) > mark
        assert not told("\n".join(proxy.filter_log()[mark:]))


async def test_at_the_finest_log_level_the_filter_tells_no_secret(launch: Launch):
    """Every way a request can go, at level trace: neither the keys nor the secret, pin or id of a user."""
    digest = hashlib.sha256(WORD.encode()).hexdigest()
    require = {"secretHeader": "x-canary-secret", "secretSha256": digest}
    more = {
        "pin": {"cookie": {"name": "pin"}, "signingKey": KEY},
        "anonymousId": {"cookie": {"name": "id"}},
        "overrides": {"header": "x-canary", "require": require},
    }
    proxy = await launch(config=config(rollout(50, **more)), wasm_log_level="trace")
    private: list[str] = []
    for mode in ("enforce", "shadow"):
        await proxy.configure(config(rollout(50, mode=mode, **more)))
        for headers in ([], [("x-user-id", "alice-private")], [("x-canary", "canary"), ("x-canary-secret", WORD)]):
            reply = await get(proxy.address, headers=headers)
            jar = [line.split(";")[0] for line in reply.all("set-cookie")]
            await get(
                proxy.address, headers=[*headers, ("cookie", "; ".join(jar)), ("cookie", "pin=canary..forged-mac")]
            )
            private += [one.partition("=")[2] for one in jar]
    # The last lines of what the filter does log at this level; Envoy writes its log late.
    said = await until(
        lambda: "\n".join(proxy.filter_log()), "six decisions", holds=lambda log: log.count("(shadow)") >= 6
    )
    for word in (KEY, digest, WORD, "alice-private", "forged-mac", *private):
        assert word not in said


# --- injection through the configuration ---------------------------------------------------------------


def torn(**more: Any) -> dict[str, Any]:
    return config(rollout(**more))


def version(**more: Any) -> dict[str, Any]:
    return torn(versions=[{"name": "stable"}, {"name": "canary", "weight": 5, **more}])


INJECTIONS: dict[str, dict[str, Any]] = {
    "line end in a request header's value": version(requestHeaders={"x-a": "1\r\nx-admin: true"}),
    "NUL in a request header's value": version(requestHeaders={"x-a": "1\0"}),
    "line end in a request header's name": version(requestHeaders={"x-a: 1\r\nx-admin": "true"}),
    "colon in a request header's name": version(requestHeaders={"x-a:": "1"}),
    "a pseudo-header": version(requestHeaders={":path": "/admin"}),
    "host": version(requestHeaders={"Host": "admin.internal"}),
    "authorization": version(requestHeaders={"Authorization": "Bearer x"}),
    "x-forwarded-for": version(requestHeaders={"X-Forwarded-For": "10.0.0.1"}),
    "an Envoy header": version(requestHeaders={"x-envoy-original-dst-host": "10.0.0.1:80"}),
    "content-length": version(requestHeaders={"content-length": "0"}),
    "transfer-encoding": version(requestHeaders={"Transfer-Encoding": "chunked"}),
    "line end in a cluster": version(cluster="v2\r\nx-admin: true"),
    "line end in a version": torn(versions=[{"name": "stable"}, {"name": "a\r\nb", "weight": 5}]),
    "metric separator in a version": torn(versions=[{"name": "stable"}, {"name": "a;.;b", "weight": 5}]),
    "line end in a rollout": torn(name="a\r\nb"),
    "route header that is authorization": torn(output={"routeHeader": "authorization"}),
    "route header that is a pseudo-header": torn(output={"routeHeader": ":path"}),
    "response header that is set-cookie": torn(output={"responseHeader": "set-cookie"}),
    "line end in a response header's name": torn(output={"responseHeader": "x\r\nset-cookie: a=b"}),
    "attribute in a cookie's name": torn(pin={"cookie": {"name": "a=b; Domain=evil"}}),
    "attribute in a cookie's path": torn(pin={"cookie": {"name": "a", "path": "/; Domain=evil.example"}}),
    "line end in a cookie's path": torn(pin={"cookie": {"name": "a", "path": "/\r\nset-cookie: b=c"}}),
    "attribute in a cookie's domain": torn(pin={"cookie": {"name": "a", "domain": "example.com; SameSite=None"}}),
    "line end in a generation": torn(pin={"cookie": {"name": "a"}, "generation": "a\r\nb"}),
    "attribute in a generation": torn(pin={"cookie": {"name": "a"}, "generation": "a; Path=/x"}),
    "secret header that is authorization": torn(
        overrides={"header": "x", "require": {"secretHeader": "authorization", "secretSha256": DIGEST}}
    ),
    "line end in a health path": torn(health={"canary": {"cluster": "checkout-v2", "path": "/ HTTP/1.1\r\nx: y"}}),
    "line end in a health host": torn(health={"canary": {"cluster": "checkout-v2", "path": "/", "host": "a\r\nx: y"}}),
}


@pytest.mark.parametrize("name", INJECTIONS)
async def test_nothing_is_injected_through_the_configuration(proxy: Envoy, name: str):
    await proxy.configure(config(rollout()))
    mark = len(proxy.filter_log())
    with pytest.raises(ConfigRefused):
        await proxy.configure(INJECTIONS[name])
    lines = [line for line in proxy.filter_log()[mark:] if "$.rollouts[0]." in line]
    assert lines and all(", allowed: " in line for line in lines), "each problem is one line of the log"


# --- cost ----------------------------------------------------------------------------------------------


async def test_a_regular_expression_that_grows_without_bound_is_refused(proxy: Envoy):
    await proxy.configure(config(rollout()))
    for regex in ("(a{100}){100}", "((a{10}){10}){10}{10}", "(" * 60 + "a" + ")" * 60, "a" * 1001):
        rules = [{"name": "r", "match": [{"header": {"x": {"regex": regex}}}], "version": "canary"}]
        with pytest.raises(ConfigRefused):
            await proxy.configure(config(rollout(rules=rules)))


async def test_users_whose_keys_collide_are_no_burden(bare: Envoy):
    """Keys that all fall into one bucket are found in seconds (the hash is public). They only choose where
    their owner goes, one user each, and nothing is kept per key."""
    same = [key for key in (f"k{number}" for number in range(60_000)) if arithmetic.bucket("checkout", key) < 50]
    assert len(same) > 10
    await bare.configure(config(rollout(0.05)))
    for key in same[:40]:
        said = await say(bare.address, request("/", [("x-user-id", key)]))
        assert ours(said) == [b"canary"]


async def test_random_requests_make_no_time_series(bare: Envoy):
    """The set of time series, names and labels, is what the configuration says, whatever is asked."""
    more = {"overrides": {"header": "x-canary"}, "pin": SIGNED, "anonymousId": {"cookie": {"name": "id"}}}
    await bare.configure(config(rollout(50, name="series", **more)))

    async def answered(count: int) -> set[str]:
        def all_counted(metrics) -> bool:
            name = "cohort_request_duration_milliseconds_count"
            return metrics.ticked(rollout="series") and metrics.sum(name, rollout="series") >= count

        metrics = await bare.metrics_when(all_counted, f"{count} answers counted")
        found = {f"{name}{sorted(labels.items())}" for name, labels, _ in metrics.samples if name.startswith("cohort_")}
        return {one for one in found if "'series'" in one}

    # Enough for both versions: the native module has a histogram from the first answer on.
    taken = 20
    for user in range(taken):
        await say(bare.address, request("/", [("x-user-id", f"u{user}")]))
    before = await answered(taken)
    assert {version for version in ("stable", "canary") if f"'{version}'" in str(before)} == {"stable", "canary"}
    at_random = random.Random(9)
    for _ in range(200):
        text = at_random.randbytes(8).hex()
        raw = bytes(at_random.randrange(128, 256) for _ in range(8))
        name = at_random.choice(["x-user-id", "x-canary", "cookie", "baggage", f"x-{text}"])
        headers = [(name, at_random.choice([text, raw])), ("cookie", f"pin={text}; id={text}; {text}={text}")]
        method = at_random.choice(["GET", "POST", "PATCH", "DELETE"])
        asked = request(f"/{text}?{text}={text}", headers, method=method, host=f"{text}.example")
        taken += (await say(bare.address, asked)).status == 200
    assert taken > 170
    assert await answered(taken) == before


async def test_an_upstream_can_forge_nothing_that_the_filter_says(launch: Launch):
    """An upstream's own copies of our response headers are replaced; its cookies pass as they are."""
    async with Rude() as rude:

        def to_rude(boot: dict[str, Any]) -> None:
            for route in bootstrap.routes(boot):
                route["route"] = {"cluster": "checkout-v1"}

        proxy = await launch(config=config(rollout(0)), clusters={"checkout-v1": rude.address}, edit=to_rude)
        said = await say(proxy.address, request("/our-headers", [("x-user-id", "u")]))
        lines = said.head.lower().split(b"\r\n")
        assert [line for line in lines if line.startswith(b"x-cohort-checkout")] == [b"x-cohort-checkout: stable"]
        assert [line for line in lines if line.startswith(b"x-cohort-reason")] == [b"x-cohort-reason: hash"]
        assert b"set-cookie: app=1" in lines
        reply = await get_http2(proxy.address, "/our-headers", [("x-user-id", "u")])
        assert reply.all("x-cohort-checkout") == ["stable"]
