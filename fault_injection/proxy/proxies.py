"""Proxies by name: listening, connections and toxics, with Toxiproxy's update semantics."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from fault_injection.proxy.addresses import join_address, resolve, split_address
from fault_injection.proxy.connection import Connection, tune
from fault_injection.proxy.errors import ApiError
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.link import Link
from fault_injection.proxy.settings import ProxySettings
from fault_injection.proxy.tls import HANDSHAKE_TIMEOUT_S, OFF
from fault_injection.proxy.toxics import MessageToxic, Toxic, create_toxic, update_toxic

BACKLOG = 4096


@dataclass(slots=True)
class Bytes:
    """Bytes by stream: taken from its source, and given to its sink."""

    received: dict[str, int] = field(default_factory=lambda: {"upstream": 0, "downstream": 0})
    sent: dict[str, int] = field(default_factory=lambda: {"upstream": 0, "downstream": 0})

    def count(self, connection: Connection) -> None:
        self.received["upstream"] += connection.client.received
        self.received["downstream"] += connection.upstream.received
        self.sent["upstream"] += connection.upstream.sent
        self.sent["downstream"] += connection.client.sent


class Proxy:
    """One listener with its upstream, its toxics and its live connections."""

    def __init__(self, hub: Hub, name: str, listen: str, upstream: str) -> None:
        self.hub = hub
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.protocol = ""
        self.enabled = False
        self.toxics: list[Toxic | MessageToxic] = []
        self.message_toxics: list[MessageToxic] = []
        self.listen_tls = self.upstream_tls = OFF
        self.connections: set[Connection] = set()
        self.accepted = self.refused = 0
        # Grows with every stop, so that a connection accepted before it is not taken up after it.
        self.generation = 0
        self._closed_bytes = Bytes()
        self._server: asyncio.Server | None = None

    def to_json(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "Logger": {},
            "toxics": [toxic.to_json() for toxic in self.ordered_toxics()],
        }
        if self.protocol:
            shown["protocol"] = self.protocol
        for name in ("listen_tls", "upstream_tls"):
            if settings := getattr(self, name).settings:
                shown[name] = settings
        return shown

    def transferred(self) -> Bytes:
        """Bytes of all connections until now, the live ones included."""
        total = Bytes(dict(self._closed_bytes.received), dict(self._closed_bytes.sent))
        for connection in self.connections:
            total.count(connection)
        return total

    def counters(self) -> dict[str, object]:
        total = self.transferred()
        return {
            "accepted": self.accepted,
            "open": len(self.connections),
            "refused": self.refused,
            "received_bytes": total.received,
            "sent_bytes": total.sent,
        }

    def ordered_toxics(self) -> list[Toxic | MessageToxic]:
        return sorted(self.toxics, key=lambda toxic: toxic.direction != "upstream")

    async def start(self) -> None:
        if self.enabled:
            return
        address = await resolve(self.listen, prefix="listen tcp: ")
        sock = _bind(*address)
        secure = {}
        if self.listen_tls.context is not None:
            secure = {
                "ssl": self.listen_tls.context,
                "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S,
            }
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=sock, **secure)
        self.listen = join_address(*sock.getsockname()[:2])
        self.enabled = True

    def _accept(self) -> asyncio.Protocol:
        self.accepted += 1
        return Connection(self, self.accepted).client

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.enabled = False
        self.generation += 1
        for connection in list(self.connections):
            connection.drop()

    async def update(self, settings: ProxySettings) -> None:
        """Applies what differs; only another address or other TLS drops connections."""
        wanted = self.enabled if settings.enabled is None else settings.enabled
        listen = self.listen if settings.listen is None else settings.listen
        if listen != self.listen:
            listen = join_address(*await resolve(listen))
        if settings.protocol is not None:
            self._speak(settings.protocol)
        upstream = self.upstream if settings.upstream is None else settings.upstream
        listen_tls = settings.listen_tls or self.listen_tls
        upstream_tls = settings.upstream_tls or self.upstream_tls
        old = (self.listen, self.upstream, self.listen_tls, self.upstream_tls)
        if (listen, upstream, listen_tls, upstream_tls) != old:
            self.stop()
            self.listen, self.upstream = listen, upstream
            self.listen_tls, self.upstream_tls = listen_tls, upstream_tls
        if wanted and not self.enabled:
            await self.start()
        elif self.enabled and not wanted:
            self.stop()

    def _speak(self, protocol: str) -> None:
        """New connections are decoded so; message toxics that are there must fit."""
        for toxic in self.message_toxics:
            toxic.must_fit(protocol, toxic.attributes)
        for toxic in self.message_toxics:
            toxic.protocol = protocol
        self.protocol = protocol

    def upstream_address(self) -> tuple[str, int]:
        host, port = split_address(self.upstream)
        return host or "127.0.0.1", port

    def stages_of(self, stream: str) -> list[Toxic]:
        return [
            toxic for toxic in self.toxics if isinstance(toxic, Toxic) and toxic.works_on(stream)
        ]

    def toxic(self, name: str) -> Toxic | MessageToxic:
        for toxic in self.toxics:
            if toxic.name == name:
                return toxic
        raise ApiError(404, "toxic not found")

    def add_toxic(self, body: Mapping[str, object]) -> Toxic | MessageToxic:
        toxic = create_toxic(
            body,
            taken={toxic.name for toxic in self.toxics},
            seed=self.hub.seed,
            since=self.accepted,
            protocol=self.protocol,
        )
        self.toxics.append(toxic)
        if isinstance(toxic, MessageToxic):
            self.message_toxics.append(toxic)
            return toxic
        for link in self._links(toxic):
            link.add(toxic)
        return toxic

    def update_toxic(self, name: str, body: Mapping[str, object]) -> Toxic | MessageToxic:
        toxic = self.toxic(name)
        update_toxic(toxic, body)
        if isinstance(toxic, Toxic):
            for link in self._links(toxic):
                link.update(toxic)
        return toxic

    def remove_toxic(self, name: str) -> None:
        toxic = self.toxic(name)
        self.toxics.remove(toxic)
        if isinstance(toxic, MessageToxic):
            self.message_toxics.remove(toxic)
            toxic.retire()
            for connection in list(self.connections):
                if connection.silenced_by == name:
                    connection.reset()
            return
        for link in self._links(toxic):
            link.remove(toxic)

    def remove_all_toxics(self) -> None:
        for toxic in list(self.toxics):
            self.remove_toxic(toxic.name)

    def _links(self, toxic: Toxic) -> list[Link]:
        return [
            link
            for connection in list(self.connections)
            if connection.is_open
            for link in (connection.up, connection.down)
            if toxic.works_on(link.stream)
        ]

    def note(self, action: str, connection: Connection, **details: object) -> None:
        self.hub.connection_event(action, connection, **details)

    def refuse(self, connection: Connection, *, reason: str) -> None:
        self.refused += 1
        self.note("refused", connection, reason=reason)

    def forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self._closed_bytes.count(connection)
            self.note("closed", connection)


def _bind(host: str, port: int) -> socket.socket:
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(host, port, "socket", error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Accepted sockets inherit these.
        tune(sock)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _listen_error(host, port, "bind", error) from error
    return sock


def _listen_error(host: str, port: int, step: str, error: OSError) -> ApiError:
    text = os.strerror(error.errno).lower() if error.errno else str(error)
    return ApiError(500, f"listen tcp {join_address(host, port)}: {step}: {text}")


class Proxies:
    """All proxies of the process; changes are made one at a time."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.by_name: dict[str, Proxy] = {}
        self.lock = asyncio.Lock()

    def __getitem__(self, name: str) -> Proxy:
        if name not in self.by_name:
            raise ApiError(404, "proxy not found")
        return self.by_name[name]

    def to_json(self) -> dict[str, object]:
        names = sorted(self.by_name, key=lambda name: name.encode())
        return {name: self.by_name[name].to_json() for name in names}

    async def create(self, settings: ProxySettings) -> Proxy:
        if settings.name in self.by_name:
            raise ApiError(409, "proxy already exists")
        return await self._add(settings)

    async def _add(self, settings: ProxySettings) -> Proxy:
        proxy = Proxy(self.hub, settings.name, settings.listen or "", settings.upstream or "")
        proxy.protocol = settings.protocol or ""
        proxy.listen_tls = settings.listen_tls or OFF
        proxy.upstream_tls = settings.upstream_tls or OFF
        # Before it listens: the first connection meets the toxics.
        for toxic in settings.toxics:
            proxy.add_toxic(toxic)
        if settings.enabled is not False:
            await proxy.start()
        self.by_name[settings.name] = proxy
        return proxy

    async def add_or_replace(self, settings: ProxySettings) -> Proxy:
        existing = self.by_name.get(settings.name)
        if existing is None:
            return await self._add(settings)
        listen = join_address(*await resolve(settings.listen or ""))
        if (listen, settings.upstream) == (existing.listen, existing.upstream):
            if settings.protocol is not None:
                existing.protocol = settings.protocol
            return existing
        existing.stop()
        return await self._add(settings)

    async def update(self, name: str, settings: ProxySettings) -> Proxy:
        proxy = self[name]
        await proxy.update(settings)
        return proxy

    def delete(self, name: str) -> None:
        self[name].stop()
        del self.by_name[name]

    async def reset(self) -> None:
        for proxy in self.by_name.values():
            await proxy.start()
            proxy.remove_all_toxics()

    def stop(self) -> None:
        for proxy in self.by_name.values():
            proxy.stop()
