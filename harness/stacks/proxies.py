"""The fault proxies of a stack, driven by the official client; every change is read back.

The client swallows the answers 500 and 503, so that a fault seems applied and nothing happened:
nothing here believes a change that the proxy does not then report. What the client does not know
(decoding, messages, events) goes to the same API beside it.
"""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import requests
import urllib3
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.core.errors import FaultError, HarnessError, NotUndoneError
from harness.core.stack import Attributes, ProxyEvent, Unit

# The client keeps the server's address in a class, so calls for different servers must not mix.
_client_lock = threading.Lock()
_PAGE = 20_000
_CLIENT_ERRORS = (
    requests.RequestException,
    InvalidToxic,
    NotFound,
    ProxyExists,
    KeyError,
    ValueError,
)


@dataclass(frozen=True)
class ProxyPlan:
    """One proxy to create: where it listens, where it forwards to, what it decodes."""

    name: str
    listen: str
    upstream: str
    protocol: str


class HttpProxies:
    """All proxies of one proxy server, reached at `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=2, read=20), retries=False, maxsize=4
        )
        # A proxy for the web, set in the environment, must not stand between us and loopback.
        for name in ("NO_PROXY", "no_proxy"):
            held = os.environ.get(name, "")
            os.environ[name] = ",".join(filter(None, [held, "127.0.0.1,localhost"]))

    def _client(self) -> Toxiproxy:
        client = Toxiproxy()
        client.update_api_consumer(self.host, self.port)
        return client

    def running(self) -> bool:
        """Whether the proxy server answers."""
        try:
            return self._http.request("GET", self._url("/version")).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def listening(self) -> dict[str, str]:
        """Where each proxy listens, by link."""
        with _client_lock:
            return {name: proxy.listen for name, proxy in self._client().proxies().items()}

    def _url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    def create(self, plans: Sequence[ProxyPlan]) -> None:
        """Create the proxies and turn decoding on; raises `HarnessError` unless all listen."""
        with _client_lock:
            client = self._client()
            for plan in plans:
                try:
                    client.create(upstream=plan.upstream, name=plan.name, listen=plan.listen)
                except _CLIENT_ERRORS as error:
                    raise HarnessError(
                        f"the proxy for link “{plan.name}” cannot be created",
                        value=repr(error),
                        where=plan.listen,
                        fix="is the port in use? see the proxy's log",
                    ) from None
            created = client.proxies()
        for plan in plans:
            proxy = created.get(plan.name)
            if proxy is None or not proxy.enabled or proxy.upstream != plan.upstream:
                raise HarnessError(
                    f"the proxy for link “{plan.name}” is not there after it was created",
                    value=plan.listen,
                    fix="see the proxy's log",
                )
            self.decode(plan.name, plan.protocol)

    def decode(self, link: str, protocol: str) -> None:
        """Have a link's proxy decode a protocol; raises `HarnessError` unless it confirms."""
        answer = self._post(f"/proxies/{link}", {"protocol": protocol})
        if answer.get("protocol") != protocol:
            raise HarnessError(
                f"the proxy of link “{link}” does not decode {protocol}", value=str(answer)[:200]
            )

    def _post(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        return self._answer("POST", path, json.dumps(body).encode())

    def _answer(self, method: str, path: str, body: bytes = b"") -> dict[str, object]:
        try:
            reply = self._http.request(method, self._url(path), body=body)
            content = json.loads(reply.data) if reply.data else {}
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise HarnessError(
                "the fault proxy does not answer", value=repr(error), where=self._url(path)
            ) from None
        if reply.status >= 400:
            raise HarnessError(
                f"the fault proxy refused ({reply.status})", value=str(content)[:300], where=path
            )
        return content

    def add_toxic(
        self, link: str, *, name: str, type: str, stream: str, attributes: Attributes
    ) -> None:
        """Put a toxic on a link; raises `FaultError` unless the proxy then reports it so."""
        with _client_lock:
            try:
                proxy = self._client().get_proxy(link)
                if proxy is None:
                    raise FaultError(f"no proxy for link “{link}”", value=link)
                proxy.add_toxic(type=type, stream=stream, name=name, attributes=dict(attributes))
                held = proxy.get_toxic(name)
            except _CLIENT_ERRORS as error:
                raise FaultError(
                    f"toxic “{name}” could not be put on “{link}”", value=repr(error)
                ) from None
        wrong = (
            held is None
            or held.type != type
            or any(held.attributes.get(key) != value for key, value in attributes.items())
        )
        if wrong:
            raise FaultError(
                f"toxic “{name}” is not on “{link}” after it was put there",
                value=str(held and held.attributes),
                where=type,
            )

    def toxics(self, link: str) -> Sequence[str]:
        """Names of the toxics on a link."""
        with _client_lock:
            proxy = self._client().get_proxy(link)
            return sorted(proxy.toxics()) if proxy else []

    def remove_toxic(self, link: str, name: str) -> None:
        """Take a toxic off; a missing one is fine; raises `NotUndoneError` if it stays."""
        with _client_lock:
            try:
                proxy = self._client().get_proxy(link)
                if proxy is None or name not in proxy.toxics():
                    return
                proxy.destroy_toxic(name)
                left = name in proxy.toxics()
            except _CLIENT_ERRORS as error:
                raise NotUndoneError(
                    f"toxic “{name}” could not be taken off “{link}”", value=repr(error)
                ) from None
        if left:
            raise NotUndoneError(f"toxic “{name}” is still on “{link}”", value=name)

    def reset(self) -> None:
        """Remove every toxic and enable every proxy; raises `NotUndoneError` if one stays."""
        with _client_lock:
            try:
                client = self._client()
                client.reset()
                proxies = client.proxies()
                bad = [n for n, proxy in proxies.items() if not proxy.enabled or proxy.toxics()]
            except _CLIENT_ERRORS as error:
                raise NotUndoneError("the proxies could not be reset", value=repr(error)) from None
        if bad:
            raise NotUndoneError("a proxy is not as it was", value=", ".join(sorted(bad)))

    def units(self, after: int) -> tuple[list[Unit], int]:
        """Decoded units that ended since position `after`, and the new position."""
        items, position = self._items_since("messages", after)
        return [_unit(item) for item in items], position

    def events(self, after: int) -> tuple[list[ProxyEvent], int]:
        """What toxics did since position `after`, and the new position."""
        items, position = self._items_since("events", after)
        return [_event(item) for item in items if item.get("toxic")], position

    def _items_since(self, what: str, after: int) -> tuple[list[Mapping[str, object]], int]:
        found: list[Mapping[str, object]] = []
        while True:
            answer = self._answer("GET", f"/{what}?after={after}&limit={_PAGE}")
            if answer.get("dropped"):
                raise HarnessError(
                    f"the proxy had to drop {what}",
                    value=str(answer["dropped"]),
                    fix="drive fewer operations in one phase",
                )
            page = answer[what]
            assert isinstance(page, list)
            found.extend(page)
            if len(page) < _PAGE:
                return found, int(str(found[-1]["seq"])) if found else after
            after = int(str(page[-1]["seq"]))


def _unit(item: Mapping[str, object]) -> Unit:
    return Unit(
        seq=int(str(item["seq"])),
        link=str(item["proxy"]),
        connection=int(str(item["connection"])),
        kind=str(item["kind"]),
        fingerprint=str(item["fingerprint"]),
        trace=str(item["trace"] or ""),
        request_ns=int(str(item["request_ns"])),
        reply_ns=int(str(item["reply_ns"] or item["request_ns"])),
        status=str(item["status"] or ""),
        upstream_port=int(str(item["upstream_port"] or 0)),
    )


def _event(item: Mapping[str, object]) -> ProxyEvent:
    return ProxyEvent(
        seq=int(str(item["seq"])),
        at_ns=int(str(item["at_ns"])),
        link=str(item["proxy"]),
        toxic=str(item["toxic"]),
        action=str(item["action"]),
        trace=str(item.get("trace") or ""),
        kind=str(item.get("kind") or ""),
        upstream_port=int(str(item.get("upstream_port") or 0)),
        client_port=int(str(item.get("client_port") or 0)),
    )
