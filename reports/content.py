"""What sections return: plain values that every format renders in its own way.

No markup is in here. An inline text is a `str`, a `Span`, or a tuple of both.
"""

from dataclasses import dataclass

Tone = str  # "", "good", "bad", "unsure" or "muted": how it looks, never the only carrier


@dataclass(frozen=True)
class Span:
    """A piece of text with a role: code to copy, a link inside the page, a tone."""

    text: str
    code: bool = False
    href: str = ""
    tone: Tone = ""


Inline = str | Span | tuple[str | Span, ...]


def code(text: str) -> Span:
    """Text that a reader may copy."""
    return Span(text, code=True)


@dataclass(frozen=True)
class Paragraph:
    """One or more sentences."""

    text: Inline
    tone: Tone = ""


@dataclass(frozen=True)
class Bullets:
    """A list in which order carries no meaning."""

    items: tuple[Inline, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values; `stacked` ones stand side by side, each name above its value."""

    rows: tuple[tuple[str, Inline], ...]
    stacked: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row names the row. `numeric` are indexes of columns."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One number that a reader must see at once."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Figures:
    """A row of figures."""

    items: tuple[Figure, ...]


@dataclass(frozen=True)
class Banner:
    """The verdict: a word, a glyph, a tone and one sentence why."""

    word: str
    glyph: str
    sentence: str
    tone: Tone


@dataclass(frozen=True)
class Command:
    """A command to copy, with what it does."""

    label: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A drawn chart with its words; `specification` is the chart as data, for the run directory."""

    name: str
    title: str
    description: str
    svg: str
    specification: str


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own; `kicker` is a line above it, `tone` colours its edge."""

    title: Inline
    blocks: tuple["Block", ...]
    anchor: str = ""
    kicker: Inline = ""
    tone: Tone = ""


Block = Paragraph | Bullets | Facts | Table | Figures | Banner | Command | Picture | Group


def plain(text: Inline) -> str:
    """An inline text without its roles."""
    if isinstance(text, tuple):
        return "".join(plain(part) for part in text)
    return text.text if isinstance(text, Span) else text
