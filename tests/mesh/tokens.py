"""Tokens that a RequestAuthentication believes: RS256 (RFC 7518, 3.3), signed by openssl."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from hosts import run

ISSUER = "https://accounts.example.com"


def _text(data: bytes) -> str:
    """base64url without padding, as in RFC 7515."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Issues tokens; `keys` is what a RequestAuthentication has in `jwks`."""

    def __init__(self, folder: Path) -> None:
        self._key = folder / "issuer.pem"
        run("openssl", "genrsa", "-out", str(self._key), "2048")
        modulus = run("openssl", "rsa", "-in", str(self._key), "-noout", "-modulus").strip().partition("=")[2]
        public = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "e": _text(b"\1\0\1")}
        self.keys = json.dumps({"keys": [{**public, "n": _text(bytes.fromhex(modulus))}]})

    def token(self, user: str) -> str:
        head: dict[str, Any] = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        body = {"iss": ISSUER, "sub": user, "exp": int(time.time()) + 3600}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, body))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key), "-binary"]
        done = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{_text(done.stdout)}"
