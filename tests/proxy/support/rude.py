"""An upstream that answers whatever bytes a test wants, and clients that say whatever they want."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
from lab.bootstrap import Address

#: What the upstream does, by the last part of the path: bytes to write, `CUT` to reset the connection there,
#: `WAIT` to say no more until the other side closes, `ECHO` to send back what comes.
CUT, WAIT, ECHO = "cut", "wait", "echo"

_OK = b"HTTP/1.1 200 OK\r\n"
_WEBSOCKET = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"

ANSWERS: dict[str, list[bytes | str]] = {
    "silent": [WAIT],
    "cut-at-once": [CUT],
    "cut-in-status": [b"HTTP/1.1 2", CUT],
    "cut-in-headers": [_OK + b"x-some: ", CUT],
    "cut-in-body": [_OK + b"content-length: 100\r\n\r\nhalf", CUT],
    "hang-in-body": [_OK + b"content-length: 100\r\n\r\nhalf", WAIT],
    "garbage": [b"\x16\x03\x01\x00\xff no answer at all\r\n\r\n", CUT],
    "bad-chunk": [_OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", CUT],
    "two-lengths": [_OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\na", WAIT],
    "status-999": [b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n"],
    "status-204": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "status-304": [b"HTTP/1.1 304 Not Modified\r\n\r\n"],
    "informational": [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", _OK + b"content-length: 2\r\n\r\nok"],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n", _OK + b"content-length: 2\r\n\r\nok"],
    "chunked-trailers": [_OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: \xff1\r\n\r\n"],
    "raw-headers": [
        _OK + b"x-raw: \x80\xff\xc3\x28\r\nset-cookie: \xfe=\xff\r\ngrpc-status: \xff\r\ncontent-length: 2\r\n\r\nok"
    ],
    "our-headers": [
        _OK + b"x-cohort-checkout: \xff\r\nx-cohort-checkout: forged\r\nX-Cohort-Reason: BECAUSE\r\n"
        b"set-cookie: cohort-checkout=canary\r\nset-cookie: app=1\r\ncontent-length: 2\r\n\r\nok"
    ],
    "many-cookies": [_OK + b"set-cookie: a=1\r\n" * 90 + b"content-length: 2\r\n\r\nok"],
    "large-headers": [_OK + b"x-large: " + b"a" * 50_000 + b"\r\ncontent-length: 2\r\n\r\nok"],
    "too-large-headers": [_OK + b"x-large: " + b"a" * 200_000 + b"\r\ncontent-length: 2\r\n\r\nok", WAIT],
    "websocket": [_WEBSOCKET, ECHO],
    "websocket-cut": [_WEBSOCKET + b"half a fra", CUT],
    "websocket-refused": [b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"],
    "grpc-ok": [_OK + b"content-type: application/grpc\r\ngrpc-status: 0\r\ncontent-length: 0\r\n\r\n"],
    "grpc-unavailable": [_OK + b"content-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"],
    "grpc-nonsense": [
        _OK + b"content-type: application/grpc\r\ngrpc-status: 99999999999999999999\r\ncontent-length: 0\r\n\r\n"
    ],
    "grpc-none": [_OK + b"content-type: application/grpc\r\ncontent-length: 0\r\n\r\n"],
}


class Rude:
    """A server that answers with `ANSWERS`, and to any other path with the head of the request as it came.

    ``async with Rude() as rude:`` and `rude.address`.
    """

    async def __aenter__(self) -> Rude:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22, backlog=4096)
        self.address: Address = ("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                name = head.split(b" ", 2)[1].split(b"?")[0].rpartition(b"/")[2].decode("latin-1")
                for step in ANSWERS.get(name, [_OK + b"content-length: %d\r\n\r\n" % len(head) + head]):
                    if step == CUT:
                        reset(writer)
                        return
                    elif step == WAIT:
                        await reader.read()
                        return
                    elif step == ECHO:
                        while data := await reader.read(65536):
                            writer.write(data)
                            await writer.drain()
                        return
                    else:
                        writer.write(step)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a TCP reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@dataclass
class Said:
    """An answer as far as it came."""

    #: 0 if the connection was closed without an answer.
    status: int = 0
    head: bytes = b""
    body: bytes = b""

    def reached(self) -> list[tuple[bytes, bytes]]:
        """The header lines that `Rude` saw, names in lower case."""
        lines = self.body.split(b"\r\n")[1:]
        pairs = (line.partition(b":") for line in lines if b":" in line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]


async def say(to: Address, data: bytes) -> Said:
    """Bytes on a connection of their own, whatever they are, and what comes back until one side ends it."""
    reader, writer = await asyncio.open_connection(*to, limit=2**22)
    said = Said()
    try:
        writer.write(data)
        said.head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        said.status = int(said.head.split(b" ", 2)[1])
        lengths = [line for line in said.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths:
            said.body = await asyncio.wait_for(reader.readexactly(int(lengths[0].split(b":")[1])), 5)
        elif b"transfer-encoding: chunked" in said.head.lower():
            while size := int(await asyncio.wait_for(reader.readline(), 5) or b"0", 16):
                said.body += (await reader.readexactly(size + 2))[:-2]
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        pass
    finally:
        writer.close()
    return said


@dataclass
class Http2:
    """One HTTP/2 connection whose streams end as a test wants, and whose headers nothing checks."""

    to: Address
    #: Status by stream, as answers come.
    status: dict[int, int] = field(default_factory=dict)
    #: Response headers by stream.
    headers: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    #: Streams that ended, by their reset code; None: with their answer.
    ended: dict[int, int | None] = field(default_factory=dict)
    #: The last stream that the other side still answers, once it has asked to open no more.
    last: int | None = None
    closed: bool = False

    async def __aenter__(self) -> Http2:
        self._reader, self.writer = await asyncio.open_connection(*self.to)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        # Huffman's code in Python takes its time for a large header, and says nothing more.
        self.h2.encoder.encode = functools.partial(self.h2.encoder.encode, huffman=False)
        self.h2.initiate_connection()
        self._next = 1
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())
        await self.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self._task

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def begin(self, headers: Iterable[tuple[bytes, bytes]], *, end: bool = True) -> int:
        """Sends the headers of a new stream, and answers with its number."""
        stream, self._next = self._next, self._next + 2
        self.h2.send_headers(stream, list(headers), end_stream=end)
        await self.flush()
        return stream

    async def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        await self.flush()

    async def until_answer(self, stream: int) -> int:
        """The status of the answer, once its headers are there; 0 if the stream ended without."""
        await self._until(lambda: stream in self.status or stream in self.ended)
        return self.status.get(stream, 0)

    async def until_end(self, stream: int) -> int:
        await self._until(lambda: stream in self.ended)
        return self.status.get(stream, 0)

    async def _until(self, holds) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: self.closed or holds()), 10)

    def _without_goaway(self, data: bytes) -> tuple[bytes, bytes]:
        """The whole frames of what came, and the rest. GOAWAY is heard here: h2 takes it for the end of the
        connection, where the streams begun before are still answered (RFC 9113, section 6.8)."""
        frames, at = [], 0
        while len(data) >= at + 9 and len(data) >= (end := at + 9 + int.from_bytes(data[at : at + 3], "big")):
            if data[at + 3] == 7:
                self.last = int.from_bytes(data[at + 9 : at + 13], "big") & (2**31 - 1)
            else:
                frames.append(data[at:end])
            at = end
        return b"".join(frames), data[at:]

    async def _read(self) -> None:
        try:
            unread = b""
            while data := await self._reader.read(65536):
                frames, unread = self._without_goaway(unread + data)
                for event in self.h2.receive_data(frames):
                    if isinstance(event, h2.events.ResponseReceived):
                        self.headers[event.stream_id] = dict(event.headers)
                        self.status[event.stream_id] = int(dict(event.headers)[b":status"])
                    elif isinstance(event, h2.events.DataReceived):
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        self.ended[event.stream_id] = None
                    elif isinstance(event, h2.events.StreamReset):
                        self.ended[event.stream_id] = event.error_code
                await self.flush()
                async with self._news:
                    self._news.notify_all()
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.closed = True
            async with self._news:
                self._news.notify_all()
