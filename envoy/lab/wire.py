"""Single requests whose bytes we choose, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h11

from .bootstrap import Address

Pairs = Iterable[tuple[bytes | str, bytes | str]]


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


@dataclass
class Reply:
    """An answer as it came over the wire."""

    status: int
    #: In order, names in lower case, every line of its own.
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found == name]

    def one(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.all(name)), None)

    @property
    def told(self) -> dict[str, Any]:
        """What the service told of the request that reached it."""
        return json.loads(self.body)

    def reached(self, name: str) -> list[str]:
        """Every value of a request header that reached the service, by its exact name in lower case."""
        return [value for found, value in self.told["headers"] if found.lower() == name]

    @property
    def reached_names(self) -> set[str]:
        """The names of all request headers that reached the service."""
        return {name.lower() for name, _ in self.told["headers"]}


class Connection:
    """One HTTP/1.1 connection that stays open, for requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, to: Address, source: str | None = None) -> Connection:
        """`source`: the client's address, such as 127.0.0.5 (on Linux all of 127.0.0.0/8 is there)."""
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection(*to, local_addr=local))

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, data: bytes) -> Reply:
        """Writes bytes and reads one answer."""
        self._writer.write(data)
        await self._writer.drain()
        return await asyncio.wait_for(self._read(data), 30)

    async def get(
        self, path: str = "/", headers: Pairs = (), *, method: str = "GET", body: bytes = b"", host: str = "lab"
    ) -> Reply:
        return await self.send(request(path, headers, method=method, body=body, host=host))

    async def _read(self, sent: bytes) -> Reply:
        # h11 parses the answer; the request went out as it was, so h11 is only told of its method.
        parser = h11.Connection(h11.CLIENT)
        method = sent.split(b" ", 1)[0]
        parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"lab")]))
        parser.send(h11.EndOfMessage())
        reply = Reply(0)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(65536)
                parser.receive_data(data)
                if not data and not reply.status:
                    raise ConnectionError("closed without an answer")
            elif isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
            elif isinstance(event, h11.Data):
                reply.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                reply.trailers = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
                return reply
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("closed without an answer")


def request(
    path: str = "/", headers: Pairs = (), *, method: str = "GET", body: bytes = b"", host: str = "lab"
) -> bytes:
    """An HTTP/1.1 request: header lines as given, in order, repeated where repeated."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: " + host.encode("latin-1")]
    lines += [_bytes(name) + b": " + _bytes(value) for name, value in headers]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def get(to: Address, path: str = "/", headers: Pairs = (), *, source: str | None = None, **more: Any) -> Reply:
    """One request on a connection of its own."""
    async with await Connection.open(to, source) as connection:
        return await connection.get(path, headers, **more)


async def send(to: Address, data: bytes) -> Reply:
    """Bytes on a connection of their own, and one answer."""
    async with await Connection.open(to) as connection:
        return await connection.send(data)


async def get_http2(
    to: Address,
    path: str = "/",
    headers: Pairs = (),
    *,
    method: str = "GET",
    host: str = "lab",
    trailers: Pairs = (),
    body: bytes = b"",
) -> Reply:
    """One HTTP/2 request (prior knowledge, no TLS), with trailers if there are any."""
    reader, writer = await asyncio.open_connection(*to)
    config = h2.config.H2Configuration(
        client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    http = h2.connection.H2Connection(config)
    http.initiate_connection()
    pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
    plain = [(_bytes(n), _bytes(v)) for n, v in headers]
    tail = [(_bytes(n), _bytes(v)) for n, v in trailers]
    head = [(_bytes(n), _bytes(v)) for n, v in pseudo] + plain
    http.send_headers(1, head, end_stream=not (body or tail))
    if body or tail:
        http.send_data(1, body or b".", end_stream=not tail)
    if tail:
        http.send_headers(1, tail, end_stream=True)

    async def talk() -> Reply:
        reply = Reply(0)
        while True:
            writer.write(http.data_to_send())
            data = await reader.read(65536)
            if not data:
                raise ConnectionError("closed without an answer")
            for event in http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    reply.status = int(dict(event.headers)[b":status"])
                    reply.headers = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
                elif isinstance(event, h2.events.DataReceived):
                    reply.body += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.TrailersReceived):
                    reply.trailers = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
                elif isinstance(event, h2.events.StreamEnded):
                    return reply
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionError(f"stream reset, code {event.error_code}")

    try:
        return await asyncio.wait_for(talk(), 30)
    finally:
        writer.close()
