"""Reads the documents: their fenced blocks, the marks before them, their links and their code."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M
)  # noqa: E501
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block. `mark` is the comment before it: `run`, `run: stack`, `run: sh`,
    `file: PATH` (to be added), `copy: PATH` (is there), or nothing."""

    document: Path
    line: int
    mark: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it stands, for messages and test ids."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line after `$ `, with the lines that its output must hold in this order."""

    line: str
    expected: tuple[str, ...]


def documents() -> list[Path]:
    """Every document of ours."""
    names = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "tests/README.md")
    return [ROOT / name for name in names] + sorted((ROOT / "docs").rglob("*.md"))


def blocks() -> list[Block]:
    """Every fenced block of every document."""
    return [block for document in documents() for block in _blocks(document)]


def _blocks(document: Path) -> Iterator[Block]:
    text = document.read_text("utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(document, line, found["mark"] or "", found["language"], found["text"])


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ()))
        elif line.strip():
            last = found.pop()
            found.append(Command(last.line, (*last.expected, line)))
    return found


def missing(command: Command, output: str) -> list[str]:
    """The expected lines that an output lacks. White space and frames do not count; `…` stands
    for anything."""
    text, lacks = _plain(output), []
    for line in command.expected:
        pattern = ".*?".join(re.escape(_plain(part).strip()) for part in line.split("…"))
        found = re.search(pattern, text, re.S)
        if found is None:
            lacks.append(line)
        else:
            text = text[found.end() :]
    return lacks


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def links(document: Path) -> list[str]:
    """Where the links of a document lead."""
    return _LINK.findall(_without_fences(document))


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    texts = _HEADING.findall(_without_fences(document))
    return {re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for text in texts}


def code_spans(document: Path) -> list[str]:
    """Every text in single back quotes."""
    return _SPAN.findall(_without_fences(document))


def _without_fences(document: Path) -> str:
    return _FENCE.sub("", document.read_text("utf-8"))


def tracked() -> set[str]:
    """Every file that git knows or would take, and every folder of one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    found = {name for name in listed if (ROOT / name).is_file()}
    return found | {str(parent) for name in found for parent in Path(name).parents}
