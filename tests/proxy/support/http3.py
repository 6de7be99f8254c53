"""A client of HTTP/3 whose header lines we choose, and an Envoy's listener for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent, StreamReset
from authority import Authority, tls_certificate
from cryptography import x509
from lab import bootstrap
from lab.bootstrap import Address
from lab.envoy import Envoy
from lab.wire import Pairs, Reply

HOST = "shop.example.com"


def listen(boot: dict[str, Any], authority: Authority) -> None:
    """A second listener like the first, called `http3`, for HTTP/3."""
    listener = bootstrap.add_listener(boot, "http3")
    listener["address"]["socket_address"]["protocol"] = "UDP"
    listener["udp_listener_config"] = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": False}}
    pair = tls_certificate(authority.certify("proxy", x509.DNSName(HOST)))
    [chain] = listener["filter_chains"]
    chain["filters"][0]["typed_config"]["codec_type"] = "HTTP3"
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": kind,
            "downstream_tls_context": {"common_tls_context": {"tls_certificates": [pair]}},
        },
    }


def address(proxy: Envoy) -> Address:
    return ("127.0.0.1", proxy.ports["http3"])


class Http3(QuicConnectionProtocol):
    """One connection, for requests side by side."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http = H3Connection(self._quic)
        self._replies: dict[int, Reply] = {}
        self._ends: dict[int, asyncio.Future[Reply]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, to: Address, authority: Path) -> AsyncIterator[Http3]:
        """`authority`: the certificate that the proxy's own must be signed with."""
        settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=HOST)
        settings.load_verify_locations(cafile=str(authority))
        async with connect(*to, configuration=settings, create_protocol=cls) as connection:
            yield connection

    def begin(self, path: str = "/", headers: Pairs = (), *, method: str = "GET", end: bool = True) -> int:
        """Sends the headers of a request, and says on which stream."""
        stream = self._quic.get_next_available_stream_id()
        pseudo = [(b":method", method), (b":scheme", "https"), (b":authority", HOST), (b":path", path)]
        lines = [(_bytes(name), _bytes(value)) for name, value in [*pseudo, *headers]]
        self._replies[stream] = Reply(0)
        self._ends[stream] = asyncio.get_running_loop().create_future()
        self._http.send_headers(stream, lines, end_stream=end)
        self.transmit()
        return stream

    def go_on(self, stream: int, body: bytes, trailers: Pairs = ()) -> None:
        """The body of a request, and its trailers."""
        lines = [(_bytes(name), _bytes(value)) for name, value in trailers]
        self._http.send_data(stream, body, end_stream=not lines)
        if lines:
            self._http.send_headers(stream, lines, end_stream=True)
        self.transmit()

    def reset(self, stream: int) -> None:
        """The client gives a request up."""
        self._ends.pop(stream).cancel()
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    async def answer(self, stream: int) -> Reply:
        return await asyncio.wait_for(self._ends[stream], 30)

    async def get(self, path: str = "/", headers: Pairs = ()) -> Reply:
        return await self.answer(self.begin(path, headers))

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            return
        if isinstance(event, ConnectionTerminated):
            for end in self._ends.values():
                if not end.done():
                    end.set_exception(ConnectionError(f"closed: {event.reason_phrase or event.error_code}"))
            return
        if isinstance(event, StreamReset):
            end = self._ends.get(event.stream_id)
            if end and not end.done():
                end.set_exception(ConnectionError(f"stream reset, code {event.error_code}"))
            return
        for one in self._http.handle_event(event):
            if not isinstance(one, (HeadersReceived, DataReceived)) or one.stream_id not in self._replies:
                continue
            reply = self._replies[one.stream_id]
            if isinstance(one, DataReceived):
                reply.body += one.data
            else:
                lines = [(name.decode(), value.decode("latin-1")) for name, value in one.headers]
                if reply.status:
                    reply.trailers = lines
                else:
                    reply.status, reply.headers = int(dict(lines)[":status"]), lines
            end = self._ends.get(one.stream_id)
            if one.stream_ended and end and not end.done():
                end.set_result(reply)


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
