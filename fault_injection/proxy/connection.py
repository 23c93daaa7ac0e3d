"""One client connection and its upstream connection."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING

from fault_injection.proxy import clock
from fault_injection.proxy.exchange import Exchange
from fault_injection.proxy.link import Link

if TYPE_CHECKING:
    from fault_injection.proxy.proxies import Proxy

DIAL_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 1.0
KEEP_ALIVE_S = 15
WRITE_BUFFER_HIGH = 256 * 1024
LINGER_ZERO = struct.pack("ii", 1, 0)


def tune(sock: socket.socket) -> None:
    """Small messages at once, and a dead peer noticed, as Go does by default."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_S)


class Leg(asyncio.Protocol):
    """One socket of a connection: reads into one link, writes for the other."""

    __slots__ = (
        "connection",
        "forward",
        "inbound",
        "lost",
        "outbound",
        "received",
        "sent",
        "transport",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.inbound: Link | None = None
        self.outbound: Link | None = None
        self.forward = self.discard
        self.received = self.sent = 0
        self.lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_HIGH)
        self.connection.leg_made(self)

    def tune(self) -> None:
        """Sets the options of an upstream socket; accepted ones have the listener's."""
        # uvloop's own wrapper would ask the kernel for family and type at every option.
        shown = self.transport.get_extra_info("socket")
        sock = socket.socket(shown.family, socket.SOCK_STREAM, 0, fileno=shown.fileno())
        try:
            tune(sock)
        finally:
            sock.detach()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.forward(data)

    def discard(self, data: bytes) -> None:
        """Nobody is to receive these bytes."""

    def eof_received(self) -> bool:
        self.connection.leg_ended(self)
        # TLS knows no half-close: its transport closes by itself.
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.connection.leg_ended(self)
        self.connection.leg_lost(self)

    def pause_writing(self) -> None:
        if self.outbound is not None:
            self.outbound.sink_full = True
            self.outbound.balance()

    def resume_writing(self) -> None:
        if self.outbound is not None:
            self.outbound.sink_full = False
            self.outbound.balance()

    def set_reading(self, reading: bool) -> None:
        if self.lost or self.transport.is_closing():
            return
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.sent += len(data)
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self, *, reset: bool) -> None:
        if self.transport is None or self.lost:
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()

    def reset_when_drained(self) -> None:
        """Resets the socket once the kernel has handed over what was written before."""
        deadline_s = clock.monotonic_s() + DRAIN_TIMEOUT_S
        loop = asyncio.get_running_loop()

        def check() -> None:
            if self.lost:
                return
            if self._unsent() and clock.monotonic_s() < deadline_s:
                loop.call_later(0.001, check)
            else:
                self.abort(reset=True)

        check()

    def _unsent(self) -> int:
        if self.transport.get_write_buffer_size():
            return self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        return struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]

    def port(self, *, peer: bool) -> int | None:
        if self.transport is None:
            return None
        address = self.transport.get_extra_info("peername" if peer else "sockname")
        return address[1] if address else None


class Connection:
    """A client, its upstream, and the two links between them."""

    __slots__ = (
        "client",
        "client_port",
        "closed",
        "dialling",
        "down",
        "dropped",
        "early",
        "ended_early",
        "exchange",
        "generation",
        "number",
        "opened",
        "opened_ns",
        "proxy",
        "silenced_by",
        "up",
        "upstream",
        "upstream_port",
    )

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.generation = proxy.generation
        self.client = Leg(self)
        self.upstream = Leg(self)
        self.up = Link(self, "upstream", self.client, self.upstream)
        self.down = Link(self, "downstream", self.upstream, self.client)
        self.client.inbound = self.upstream.outbound = self.up
        self.client.outbound = self.upstream.inbound = self.down
        self.exchange: Exchange | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.client_port: int | None = None
        self.upstream_port: int | None = None
        self.opened_ns = clock.monotonic_ns()
        self.silenced_by: str | None = None
        self.dropped = False
        self.early = b""
        self.ended_early = False
        self.opened = False
        self.closed = False

    @property
    def is_open(self) -> bool:
        """Whether both sockets are connected and wired."""
        return self.opened and not self.closed

    def leg_made(self, leg: Leg) -> None:
        if self.dropped or self.generation != self.proxy.generation:
            # The proxy was stopped between the accept and this call.
            self.dropped = True
            leg.abort(reset=False)
            return
        if leg is self.client:
            # Not before: a TLS handshake that fails ends without a word.
            self.proxy.connections.add(self)
            self.client_port = leg.port(peer=True)
            leg.forward = self._keep_early
            self.dialling = asyncio.get_running_loop().create_task(self._dial())
        else:
            # From here on nothing may cancel the dialling: that would lose what is written.
            self.dialling = None
            leg.tune()
            self.upstream_port = leg.port(peer=False)
            # At once: the server may speak before the dialling task runs again.
            self._open()

    def _keep_early(self, data: bytes) -> None:
        """Keeps one chunk until there is somewhere to put it, and reads no more until then."""
        # Not paused from the start: uvloop ignores a pause within connection_made.
        self.early += data
        self.up.source_paused = True
        self.client.set_reading(False)

    async def _dial(self) -> None:
        # Outside the accept loop: an upstream that does not answer delays only its own client.
        loop, tls = asyncio.get_running_loop(), self.proxy.upstream_tls
        try:
            host, port = self.proxy.upstream_address()
            secure = {}
            if tls.context is not None:
                secure = {"ssl": tls.context, "server_hostname": tls.server_name or host}
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await loop.create_connection(lambda: self.upstream, host, port, **secure)
        except (OSError, ValueError, TimeoutError) as error:
            self.proxy.refuse(self, reason=str(error) or type(error).__name__)
            self.client.close()
            self._dial_failed()
        except asyncio.CancelledError:
            self._dial_failed()
            raise
        finally:
            self.dialling = None

    def _dial_failed(self) -> None:
        # A transport that was made in the same turn is closed by uvloop without a word.
        if self.upstream.transport is not None and not self.upstream.lost:
            self.upstream.connection_lost(None)

    def _open(self) -> None:
        if self.closed or self.client.lost:
            self.upstream.abort(reset=False)
            return
        self.opened = True
        self.proxy.note("opened", self)
        if self.proxy.protocol:
            self.exchange = Exchange(self, self.proxy.protocol)
        self.up.open(self.proxy.stages_of("upstream"))
        self.down.open(self.proxy.stages_of("downstream"))
        if self.early:
            early, self.early = self.early, b""
            self.client.forward(early)
        self.up.balance()
        if self.ended_early:
            self.up.end()

    def route(self) -> None:
        """Sends what each socket reads to the exchange if there is one, else to its link."""
        if self.silenced_by is not None:
            self.client.forward = self.client.discard
            self.upstream.forward = self.upstream.discard
        elif self.exchange is not None:
            self.client.forward = self.exchange.from_client
            self.upstream.forward = self.exchange.from_upstream
        else:
            self.client.forward = self.up.entry
            self.upstream.forward = self.down.entry

    def leg_ended(self, leg: Leg) -> None:
        if self.silenced_by is not None:
            if leg is self.client:
                self.drop()
            return
        if not self.opened:
            self.ended_early = True
            return
        if self.closed or leg.inbound is None:
            return
        if self.exchange is None:
            leg.inbound.end()
        elif leg is self.client:
            self.exchange.client_ended()
        else:
            self.exchange.upstream_ended()

    def leg_lost(self, leg: Leg) -> None:
        if leg is self.client and self.dialling is not None:
            self.dialling.cancel()
        if self.client.lost and (self.upstream.lost or self.upstream.transport is None):
            self._forget()

    def drop(self) -> None:
        """Closes both sockets at once; what the toxics hold is lost."""
        self._abort(reset=False)

    def reset(self) -> None:
        """Closes both sockets so that both peers read a connection reset."""
        self._abort(reset=True)

    def _abort(self, *, reset: bool) -> None:
        self.dropped = True
        if self.dialling is not None:
            self.dialling.cancel()
        self.up.discard()
        self.down.discard()
        self.route()
        self.client.abort(reset=reset)
        self.upstream.abort(reset=reset)

    def cut(self, *, reset: bool) -> None:
        """Resets the upstream now; ends the client after what was already on its way to it."""
        self.up.discard()
        self.upstream.abort(reset=True)
        self.down.end(reset=reset)

    def reset_behind_request(self) -> None:
        """Resets the upstream once it has what was written, and then the client."""
        self.exchange.resets = True
        self.up.end(reset=True)

    def close_both(self) -> None:
        """Closes both sockets after what was already on its way."""
        self.up.end()
        self.down.end()

    def silence(self, toxic: str) -> None:
        """Delivers nothing more; the client finds out by its own timeout."""
        self.silenced_by = toxic
        self.route()

    def _forget(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.up.discard()
        self.down.discard()
        if self.exchange is not None:
            self.exchange.closed()
        self.proxy.forget(self)

    def to_json(self) -> dict[str, object]:
        decoded = self.exchange is not None and self.exchange.reason is None
        reason = "no protocol" if self.exchange is None else self.exchange.reason
        return {
            "proxy": self.proxy.name,
            "connection": self.number,
            "client_port": self.client_port,
            "upstream_port": self.upstream_port,
            "opened_ns": self.opened_ns,
            "bytes_up": self.client.received,
            "bytes_down": self.upstream.received,
            "sent_up": self.upstream.sent,
            "sent_down": self.client.sent,
            "protocol": self.exchange.protocol if self.exchange is not None else None,
            "decoded": decoded,
            "reason": None if decoded else reason,
            "silenced_by": self.silenced_by,
        }
