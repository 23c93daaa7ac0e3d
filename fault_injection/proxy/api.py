"""The control API: Toxiproxy 2.12's endpoints, and messages, events, connections, markers."""

from __future__ import annotations

import json
import posixpath
import secrets
import traceback
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import parse_qs, quote, unquote, urlsplit

import orjson

from fault_injection.proxy.errors import ApiError
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.metrics import CONTENT_TYPE, proxy_metrics, runtime_metrics
from fault_injection.proxy.proxies import Proxies, Proxy
from fault_injection.proxy.records import Page
from fault_injection.proxy.server import TEXT, Request, Response
from fault_injection.proxy.settings import ProxySettings, as_object, parse_json, parse_object
from fault_injection.proxy.toxics import MessageToxic

VERSION = "2.12.0"
JSON = "application/json"
NO_SNIFF = (("X-Content-Type-Options", "nosniff"),)
PAGE_DEFAULT = 2_000
PAGE_MAX = 20_000

Route = Callable[..., Awaitable[Response]]


def go_json(value: object) -> bytes:
    """Compact JSON with the characters that Go escapes for HTML."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escape)
    return text.encode()


def answer(status: int, value: object) -> Response:
    return Response(status, go_json(value), JSON)


def refusal(error: ApiError) -> Response:
    body = go_json({"error": error.message, "status": error.status}) + b"\n"
    return Response(error.status, body, TEXT, NO_SNIFF)


def split_target(target: str) -> tuple[str, str]:
    """Path, still encoded, and query of a request's target, which may be a whole URL."""
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            return "", ""
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query


def clean_path(path: str) -> str:
    """The path without empty and dotted segments, as Go's router redirects to it."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


class Api:
    """Routes requests of the control API."""

    def __init__(self, hub: Hub, proxies: Proxies, metrics: Iterable[str] = ()) -> None:
        self.hub = hub
        self.proxies = proxies
        self.shown_metrics = frozenset(metrics)
        self.routes: dict[tuple[str, ...], dict[str, Route]] = {
            ("proxies",): {"GET": self.list_proxies, "POST": self.create_proxy},
            ("populate",): {"POST": self.populate},
            ("proxies", "*"): {
                "GET": self.show_proxy,
                "POST": self.update_proxy,
                "PATCH": self.update_proxy,
                "DELETE": self.delete_proxy,
            },
            ("proxies", "*", "toxics"): {"GET": self.list_toxics, "POST": self.create_toxic},
            ("proxies", "*", "toxics", "*"): {
                "GET": self.show_toxic,
                "POST": self.update_toxic,
                "PATCH": self.update_toxic,
                "DELETE": self.delete_toxic,
            },
            ("proxies", "*", "toxics", "*", "release"): {"POST": self.release},
            ("reset",): {"POST": self.reset},
            ("version",): {"GET": self.version},
            ("messages",): {"GET": self.messages},
            ("events",): {"GET": self.events},
            ("connections",): {"GET": self.connections},
            ("counters",): {"GET": self.counters},
            ("markers",): {"POST": self.add_marker},
        }
        if self.shown_metrics:
            self.routes["metrics",] = {"*": self.metrics}

    async def handle(self, request: Request) -> Response:
        path, query = split_target(request.target)
        clean = clean_path(path)
        if clean != path:
            location = quote(clean, safe="/%:@!$&'()*+,;=~") + (f"?{query}" if query else "")
            return Response(301, headers=(("Location", location),))
        found = self._find(path)
        if found is None:
            return Response(404, b"404 page not found\n", TEXT, NO_SNIFF)
        methods, variables = found
        route = methods.get(request.method) or methods.get("*")
        if route is None:
            return Response(405)
        response = await self._call(route, request, variables)
        request_id = ("X-Toxiproxy-Request-Id", secrets.token_hex(10))
        return Response(
            response.status,
            response.body,
            response.content_type,
            (*response.headers, request_id),
        )

    async def _call(self, route: Route, request: Request, variables: list[str]) -> Response:
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            return Response(403, b"User agent not allowed\n", TEXT, NO_SNIFF)
        try:
            if request.method == "GET":
                return await route(request, *variables)
            async with self.proxies.lock:
                return await route(request, *variables)
        except ApiError as error:
            return refusal(error)
        except Exception as error:
            # A defect of ours must be seen, and must not leave the client without an answer.
            traceback.print_exc()
            return refusal(ApiError(500, f"internal error: {error!r}"))

    def _find(self, path: str) -> tuple[dict[str, Route], list[str]] | None:
        # Decoded after the split: a name may hold a slash, which Toxiproxy never finds again.
        parts = [unquote(part) for part in path.split("/")[1:]]
        for pattern, methods in self.routes.items():
            if len(pattern) == len(parts) and all(
                part if expected == "*" else expected == part
                for expected, part in zip(pattern, parts, strict=True)
            ):
                wild = [
                    part for expected, part in zip(pattern, parts, strict=True) if expected == "*"
                ]
                return methods, wild
        return None

    async def list_proxies(self, request: Request) -> Response:
        return answer(200, self.proxies.to_json())

    async def create_proxy(self, request: Request) -> Response:
        settings = ProxySettings.parse(parse_object(bytes(request.body)))
        settings.require()
        return answer(201, (await self.proxies.create(settings)).to_json())

    async def populate(self, request: Request) -> Response:
        done: list[Proxy] = []
        try:
            for settings in self._population(bytes(request.body)):
                done.append(await self.proxies.add_or_replace(settings))
        except ApiError as error:
            shown = [proxy.to_json() for proxy in done] or None
            failed = {"error": error.message, "status": error.status, "proxies": shown}
            return answer(error.status, failed)
        return answer(201, {"proxies": [proxy.to_json() for proxy in done] or None})

    @staticmethod
    def _population(body: bytes) -> list[ProxySettings]:
        entries = parse_json(body)
        if not isinstance(entries, list):
            raise ApiError(
                400,
                "bad request body: json: cannot unmarshal object into Go value of type "
                "[]struct { toxiproxy.Proxy; Enabled *bool }",
            )
        population = [ProxySettings.parse(as_object(entry, "toxiproxy.Proxy")) for entry in entries]
        for number, settings in enumerate(population, 1):
            settings.require(f" at proxy {number}")
        return population

    async def show_proxy(self, request: Request, name: str) -> Response:
        return answer(200, self.proxies[name].to_json())

    async def update_proxy(self, request: Request, name: str) -> Response:
        self.proxies[name]
        settings = ProxySettings.parse(parse_object(bytes(request.body)))
        return answer(200, (await self.proxies.update(name, settings)).to_json())

    async def delete_proxy(self, request: Request, name: str) -> Response:
        self.proxies.delete(name)
        return Response(204)

    async def list_toxics(self, request: Request, name: str) -> Response:
        toxics = self.proxies[name].ordered_toxics()
        return answer(200, [toxic.to_json() for toxic in toxics])

    async def create_toxic(self, request: Request, name: str) -> Response:
        proxy = self.proxies[name]
        body = as_object(parse_json(bytes(request.body)), "toxics.ToxicWrapper")
        return answer(200, proxy.add_toxic(body).to_json())

    async def show_toxic(self, request: Request, name: str, toxic: str) -> Response:
        return answer(200, self.proxies[name].toxic(toxic).to_json())

    async def update_toxic(self, request: Request, name: str, toxic: str) -> Response:
        proxy = self.proxies[name]
        proxy.toxic(toxic)
        body = as_object(parse_json(bytes(request.body)), "toxics.ToxicWrapper")
        return answer(200, proxy.update_toxic(toxic, body).to_json())

    async def delete_toxic(self, request: Request, name: str, toxic: str) -> Response:
        self.proxies[name].remove_toxic(toxic)
        return Response(204)

    async def release(self, request: Request, name: str, toxic: str) -> Response:
        found = self.proxies[name].toxic(toxic)
        if not isinstance(found, MessageToxic):
            raise ApiError(400, f"{found.type} holds no message")
        return answer(200, {"released": found.release("released")})

    async def reset(self, request: Request) -> Response:
        await self.proxies.reset()
        return Response(204)

    async def version(self, request: Request) -> Response:
        body = f'{{"version": "{VERSION}"}}\n'.encode()
        return Response(200, body, "application/json;charset=utf-8")

    async def messages(self, request: Request) -> Response:
        return self._page(request, "messages", self.hub.messages.page)

    async def events(self, request: Request) -> Response:
        return self._page(request, "events", self.hub.events.page)

    @staticmethod
    def _page(request: Request, key: str, read: Callable[..., Page]) -> Response:
        query = parse_qs(split_target(request.target)[1])
        try:
            after = int(query.get("after", ["0"])[0])
            limit = int(query.get("limit", [str(PAGE_DEFAULT)])[0])
        except ValueError as error:
            raise ApiError(400, f"after and limit are whole numbers: {error}") from error
        limit = min(max(limit, 1), PAGE_MAX)
        page = read(after=after, limit=limit, trace=query.get("trace", [None])[0])
        body = orjson.dumps(
            {"last_seq": page.last_seq, "dropped": page.dropped, key: page.records},
            default=lambda record: record.to_json(),
            option=orjson.OPT_PASSTHROUGH_DATACLASS,
        )
        return Response(200, body, JSON)

    async def connections(self, request: Request) -> Response:
        live = [
            connection.to_json()
            for proxy in self.proxies.by_name.values()
            for connection in proxy.connections
        ]
        return answer(200, {"connections": live})

    async def counters(self, request: Request) -> Response:
        found = {name: proxy.counters() for name, proxy in sorted(self.proxies.by_name.items())}
        return answer(200, {"proxies": found})

    async def metrics(self, request: Request) -> Response:
        lines: list[str] = []
        if "proxy" in self.shown_metrics:
            lines += proxy_metrics(self.proxies.by_name.values())
        if "runtime" in self.shown_metrics:
            lines += runtime_metrics()
        return Response(200, "\n".join([*lines, ""]).encode(), CONTENT_TYPE)

    async def add_marker(self, request: Request) -> Response:
        body = as_object(parse_json(bytes(request.body)), "marker")
        marker, trace = body.get("marker"), body.get("trace")
        if not isinstance(marker, str) or not isinstance(trace, str) or len(marker) < 4:
            raise ApiError(400, "marker (at least 4 characters) and trace must be strings")
        self.hub.add_marker(marker, trace)
        return answer(200, {"marker": marker, "trace": trace})
