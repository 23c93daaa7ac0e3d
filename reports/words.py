"""How the report words verdicts, money, times and counts: the same in every section and format."""

from dataclasses import dataclass

from harness.core.run_record import RunRecord
from harness.core.verdict import Verdict
from reports.content import Span, Tone

# ISO 4217 currencies whose minor unit is not a hundredth; every other one has two decimals.
_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
    *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
)
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_DECIMALS = dict.fromkeys(_NO_DECIMALS, 0) | dict.fromkeys(_THREE_DECIMALS, 3)


@dataclass(frozen=True)
class Look:
    """A verdict as a reader sees it: never by colour alone."""

    word: str
    glyph: str
    tone: Tone


_LOOKS = {
    Verdict.PASS: Look("pass", "✓", "good"),
    Verdict.FAIL: Look("FAIL", "✕", "bad"),
    Verdict.DEGRADED: Look("degraded", "▽", "unsure"),
    Verdict.INCONCLUSIVE: Look("inconclusive", "?", "unsure"),
    None: Look("no verdict", "■", "unsure"),
}


def look(verdict: Verdict | None) -> Look:
    """The word, glyph and tone of a verdict, or of its absence."""
    return _LOOKS[verdict]


def badge(verdict: Verdict | None, *, detail: str = "", href: str = "") -> Span:
    """A verdict as one inline mark."""
    seen = look(verdict)
    text = f"{seen.glyph}\u00a0{seen.word}" + (f" {detail}" if detail else "")
    return Span(text, tone=seen.tone, href=href)


def money(amount_minor: int, currency: str) -> str:
    """`EUR 123.45 (12345 minor units)`; no locale, and no float on the way."""
    decimals = _DECIMALS.get(currency, 2)
    whole, part = divmod(abs(amount_minor), 10**decimals)
    sign = "-" if amount_minor < 0 else ""
    major = f"{sign}{whole}.{part:0{decimals}d}" if decimals else f"{sign}{whole}"
    return f"{currency} {major} ({amount_minor} minor units)".strip()


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 fault`, `2 faults`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def seconds(ms: int) -> str:
    """Milliseconds as seconds with three decimals."""
    return f"{ms // 1000}.{ms % 1000:03d} s"


def span(from_ms: int | None, until_ms: int | None) -> str:
    """A window of the run in seconds; an open end is said, not guessed."""
    if from_ms is None:
        return "never in place"
    return f"{seconds(from_ms)} – {seconds(until_ms) if until_ms is not None else 'not ended'}"


def pairs(values: dict[str, str]) -> str:
    """A mapping on one line, in a stable order, without empty values."""
    return ", ".join(f"{key} = {value}" for key, value in sorted(values.items()) if value)


def sentence(text: str) -> str:
    """The text with a capital first letter, unless it begins with a name such as `api-1`."""
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    return text[:1].upper() + text[1:] if first.isalpha() else text


def repeat_command(record: RunRecord) -> str:
    """The command that repeats a run, as recorded; with the seed when nothing was recorded."""
    return record.command or f"stormproof run --seed {record.seed}"


def short_commit(commit: str) -> str:
    """The first twelve characters, and the `+` of a changed work tree."""
    return commit[:12] + ("+" if len(commit) > 12 and commit.endswith("+") else "")
