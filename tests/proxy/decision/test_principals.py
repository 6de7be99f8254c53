"""`inherit.principals`: who a decision is taken from, by the SPIFFE id in the certificate of the peer."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from authority import Authority
from conftest import Launch, config, rollout
from cryptography import x509
from lab.bootstrap import listener
from lab.envoy import Envoy

WEB = "spiffe://cluster.local/ns/shop/sa/web"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(
    ("principals", "peer", "reason"),
    [
        ([WEB], [uri(WEB)], "INHERITED"),
        (["spiffe://cluster.local/ns/shop/"], [uri(WEB)], "INHERITED"),
        ([WEB], [uri(WEB + "-copy")], "HASH"),
        (["spiffe://cluster.local/ns/shop/"], [uri("spiffe://cluster.local/ns/shop-2/sa/web")], "HASH"),
        ([WEB], [x509.DNSName("web.shop")], "HASH"),
        ([WEB], None, "HASH"),
    ],
    ids=["the one", "the namespace", "another account", "another namespace", "no SPIFFE id", "no certificate"],
)
async def test_a_decision_is_taken_from_who_the_certificate_says(
    launch: Launch, tmp_path: Path, principals: list[str], peer: list[x509.GeneralName] | None, reason: str
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.certify("proxy", x509.DNSName("shop.example.com"))

    def over_tls(boot: dict[str, Any]) -> None:
        pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
        context = {
            "tls_certificates": [pair],
            "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
        }
        listener(boot)["filter_chains"][0]["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": TLS, "common_tls_context": context},
        }

    output = {"reasonHeader": "x-reason"}
    one = rollout(0, inherit={"principals": principals}, output=output)
    proxy: Envoy = await launch(config=config(one), edit=over_tls)
    client = ssl.create_default_context(cafile=str(authority.certificate))
    if peer is not None:
        client.load_cert_chain(*authority.certify("peer", *peer))
    host, port = proxy.address
    connector = aiohttp.TCPConnector(ssl=client)
    async with aiohttp.ClientSession(connector=connector) as http:
        headers = {"x-user-id": "u", "x-cohort-checkout": "canary"}
        async with http.get(f"https://{host}:{port}/", headers=headers, server_hostname="shop.example.com") as answer:
            assert answer.status == 200
            assert answer.headers["x-reason"] == reason
            assert (await answer.json())["service"] == ("checkout-v2" if reason == "INHERITED" else "checkout-v1")
