"""`summary.md`: the report without pictures, for job summaries and merge requests."""

import re
from functools import singledispatch

from reports.content import (
    Banner,
    Block,
    Bullets,
    Command,
    Facts,
    Figures,
    Group,
    Inline,
    Paragraph,
    Picture,
    Span,
    Table,
    plain,
)
from reports.run import Run
from reports.section import Built

BYTES_MAX = 64 * 1024
_CUT = "\n*Cut at 64 KiB; the whole report is in report.html.*\n"
_SPECIAL = re.compile(r"([\\`*_\[\]|#~!@])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def summary(run: Run, sections: tuple[Built, ...]) -> str:
    """The page as Markdown, at most 64 KiB of UTF-8."""
    parts = [f"# stormproof: {_escaped(run.record.target)}, run {_code(run.record.run_id)}\n"]
    for built in sections:
        if not built.section.in_summary:
            continue
        body = "\n".join(markdown(block) for block in built.blocks)
        parts.append(f"\n## {_escaped(built.section.title)}\n\n{body}")
    return _bounded("".join(parts))


def _bounded(text: str) -> str:
    """The text, cut at a line's end where it would be too long."""
    data = text.encode()
    if len(data) <= BYTES_MAX:
        return text
    kept = data[: BYTES_MAX - len(_CUT.encode())]
    return kept[: kept.rfind(b"\n") + 1].decode() + _CUT


@singledispatch
def markdown(block: Block) -> str:
    """One block as Markdown."""
    raise TypeError(f"there is no Markdown for {type(block).__name__}")


@markdown.register
def _(block: Banner) -> str:
    return f"**{block.glyph} {block.word.upper()}** {_escaped(block.sentence)}\n"


@markdown.register
def _(block: Paragraph) -> str:
    return _words(block.text) + "\n"


@markdown.register
def _(block: Bullets) -> str:
    return "".join(f"- {_words(item)}\n" for item in block.items)


@markdown.register
def _(block: Facts) -> str:
    return "".join(f"- {_escaped(name)}: {_words(value)}\n" for name, value in block.rows)


@markdown.register
def _(block: Figures) -> str:
    cells = ("", "", "")
    rows = tuple((item.label, item.value, item.note) for item in block.items)
    return _table(cells, rows)


@markdown.register
def _(block: Table) -> str:
    note = f"\n{_escaped(block.note)}\n" if block.note else ""
    return f"{_escaped(block.caption)}\n\n{_table(block.columns, block.rows)}{note}"


@markdown.register
def _(block: Command) -> str:
    return f"{_escaped(block.label)}: {_code(block.text)}\n"


@markdown.register
def _(block: Picture) -> str:
    return f"{_escaped(block.description)}\n"


@markdown.register
def _(block: Group) -> str:
    kicker = f"{_words(block.kicker)}\n\n" if block.kicker else ""
    body = "\n".join(markdown(inner) for inner in block.blocks)
    return f"### {_words(block.title)}\n\n{kicker}{body}"


def _table(columns: tuple[str, ...], rows: tuple[tuple[Inline, ...], ...]) -> str:
    lines = [[_escaped(column) for column in columns], ["---"] * len(columns)]
    lines += [[_words(cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _words(text: Inline) -> str:
    if isinstance(text, tuple):
        return "".join(_words(part) for part in text)
    if isinstance(text, Span) and text.code:
        return _code(plain(text))
    return _escaped(plain(text))


def _escaped(text: str) -> str:
    """Text that Markdown and the HTML inside it leave alone, on one line."""
    text = _CONTROL.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", text)


def _code(text: str) -> str:
    """Inline code that survives in a table: no line ends, no back-ticks, no bars."""
    text = _CONTROL.sub(" ", text).replace("`", "'").replace("|", "¦").strip()
    return f"`{text}`" if text else ""
