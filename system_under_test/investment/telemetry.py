"""OpenTelemetry spans of HTTP, SQL, publishing, jobs and partner calls, sent by OTLP/HTTP.

Only imported when an endpoint is set. Spans join the trace that `tracing` carries: its trace id
stays the caller's everywhere, and what is carried on names the span that is current.

FastAPI makes its spans itself as soon as there is a provider. Celery, urllib3 and Redis have their
official instrumentations. SQLAlchemy's refuses SQLAlchemy 2.1 (it wants < 2.1): a listener here
does its work. Celery's ends the span of a message as soon as its headers are written, because the
relay publishes a task by its name.

Spans are kept in a bounded queue and sent by a thread: when the receiver is away they are lost, and
nobody waits. A span outside of a trace is only begun by a request or a job, so that polling the
queue, the outbox and the flags leaves none. Attributes hold statements, never their parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import Engine, event

from . import tracing
from .settings import Settings

_EXPORT_TIMEOUT_S = 2


class _UnitsOfWork(Sampler):
    """Begins a trace for a request or a job only."""

    def should_sample(self, parent_context, trace_id, name, kind=None, **_):  # type: ignore[no-untyped-def]
        begins = kind in (SpanKind.SERVER, SpanKind.CONSUMER)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if begins else Decision.DROP)

    def get_description(self) -> str:
        return "units of work"


class _Spans(tracing.NoSpans):
    def current(self) -> str | None:
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    @contextmanager
    def joined(self, traceparent: str | None) -> Iterator[None]:
        current = self.current()
        if traceparent is None or (current and current[:35] == traceparent[:35]):
            yield
            return
        token = context.attach(extract({"traceparent": traceparent}))
        try:
            yield
        finally:
            context.detach(token)


def start(settings: Settings) -> None:
    """Begin to make and send spans in this process; a forked child does it for itself."""
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT_S
    )
    provider = TracerProvider(
        sampler=ParentBased(root=_UnitsOfWork()),
        resource=Resource.create({"service.name": settings.process_name}),
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, schedule_delay_millis=500, export_timeout_millis=_EXPORT_TIMEOUT_S * 1000
        )
    )
    trace.set_tracer_provider(provider)
    tracing.spans = _Spans()
    CeleryInstrumentor().instrument()
    RedisInstrumentor().instrument()
    URLLib3Instrumentor().instrument(url_filter=lambda url: url.partition("?")[0])
    _instrument_sql(provider.get_tracer(__name__))


def _instrument_sql(tracer: trace.Tracer) -> None:
    @event.listens_for(Engine, "before_cursor_execute")
    def begin(_conn, _cursor, statement, _parameters, execution, _many):  # type: ignore[no-untyped-def]
        execution.span = tracer.start_span(
            f"SQL {statement.split(maxsplit=1)[0]}",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": statement},
        )

    @event.listens_for(Engine, "after_cursor_execute")
    def end(_conn, _cursor, _statement, _parameters, execution, _many):  # type: ignore[no-untyped-def]
        execution.span.end()

    @event.listens_for(Engine, "handle_error")
    def fail(failure):  # type: ignore[no-untyped-def]
        span = getattr(failure.execution_context, "span", None)
        if span is not None and span.is_recording():
            error = failure.original_exception
            span.set_status(Status(StatusCode.ERROR, getattr(error, "sqlstate", None)))
            span.end()
