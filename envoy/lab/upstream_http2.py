"""The service of `upstream` over HTTP/2 without TLS: request trailers are told, gRPC statuses are sent
in trailers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from .upstream import App

_Headers = list[tuple[bytes, bytes]]


@dataclass
class _Stream:
    headers: _Headers
    trailers: _Headers = field(default_factory=list)


class _Connection(asyncio.Protocol):
    def __init__(self, app: App) -> None:
        self.app = app
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.streams: dict[int, _Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.http.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def _flush(self) -> None:
        self.transport.write(self.http.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self.http.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self.streams[event.stream_id] = _Stream(event.headers)
            elif isinstance(event, h2.events.TrailersReceived):
                self.streams[event.stream_id].trailers = event.headers
            elif isinstance(event, h2.events.DataReceived):
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.streams.pop(event.stream_id, None)
            elif isinstance(event, h2.events.StreamEnded):
                stream = self.streams.pop(event.stream_id)
                task = asyncio.create_task(self._answer(event.stream_id, stream))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        self._flush()

    async def _answer(self, stream_id: int, stream: _Stream) -> None:
        app, fate = self.app, self.app.fate()
        app.counts["in_flight"] += 1
        try:
            if fate.delay:
                await asyncio.sleep(fate.delay)
        finally:
            app.counts["in_flight"] -= 1
        pseudo = {name: value.decode("latin-1") for name, value in stream.headers if name.startswith(b":")}
        plain = [pair for pair in stream.headers if not pair[0].startswith(b":")]
        trailers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in stream.trailers]
        grpc = app.behaviour.grpc_status
        headers = {":status": str(fate.status), **app.answer_headers()}
        if grpc is not None:
            headers["content-type"] = "application/grpc"
        body = app.body(pseudo[b":method"], pseudo[b":path"], plain, trailers=trailers)
        try:
            if fate.reset:
                self.http.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            else:
                self.http.send_headers(stream_id, list(headers.items()))
                # One frame: the answers of the lab are far below the window of a fresh stream.
                self.http.send_data(stream_id, body[:16_000], end_stream=grpc is None)
                if grpc is not None:
                    self.http.send_headers(stream_id, [("grpc-status", str(grpc))], end_stream=True)
        except h2.exceptions.ProtocolError:  # the stream is gone
            pass
        self._flush()


async def serve(app: App, host: str, port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(lambda: _Connection(app), host, port)
