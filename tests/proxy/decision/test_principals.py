"""`inherit.principals`: who a decision is taken from, by the SPIFFE id in the certificate of the peer."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import Launch, config, rollout
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lab.bootstrap import listener
from lab.envoy import Envoy

WEB = "spiffe://cluster.local/ns/shop/sa/web"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


class Authority:
    """Certifies workloads by their URI, as a mesh does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mesh")])
        self.certificate = self._write("authority", self._key, self._build(self._name, self._key, [], authority=True))

    def certify(self, name: str, *identities: x509.GeneralName) -> tuple[Path, Path]:
        """Certificate and key of one who is all of these."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._write(name, key, self._build(subject, key, list(identities), authority=False))
        return certificate, certificate.with_suffix(".key")

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
        path = self.directory / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        path.with_suffix(".key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return path


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
