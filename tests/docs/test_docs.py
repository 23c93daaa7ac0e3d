"""The documents say what is true: their commands run, their examples work, their names exist."""

import re
from pathlib import Path

import pytest
import typer

from harness.cli import catalogue, wiring
from harness.cli.app import app
from harness.core.exit_codes import ExitCode
from tests.docs.conftest import Shell
from tests.docs.markdown import (
    ROOT,
    Block,
    blocks,
    code_spans,
    commands,
    documents,
    headings,
    links,
    missing,
    tracked,
)

DOCUMENTS = documents()
BLOCKS = blocks()
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]
# What the documents tell to add, or what a run makes: not in the repository.
MADE = ("runs/", ".venv/", "till/", "journal.ndjson", "run.json", "logs/", "charts/", "report.html")


def marked(mark: str) -> list[Block]:
    found = [block for block in BLOCKS if block.mark == mark]
    assert found, f"no block is marked {mark}"
    return found


def check_console(block: Block, shell: Shell) -> None:
    for command in commands(block):
        done = shell(command.line)
        assert done.returncode == 0, f"{block.name}: {command.line}\n{done.stdout}"
        lacks = missing(command, done.stdout)
        assert not lacks, f"{block.name}: {command.line} lacks {lacks}\n{done.stdout}"


@pytest.mark.parametrize("block", marked("run"), ids=lambda block: block.name)
def test_commands_give_the_output_that_is_shown(block: Block, shell: Shell) -> None:
    assert commands(block)
    check_console(block, shell)


@pytest.mark.parametrize("block", marked("run: sh"), ids=lambda block: block.name)
def test_scripts_run(block: Block, shell: Shell) -> None:
    done = shell(f"set -e\n{block.text}")
    assert done.returncode == 0, done.stdout


def test_what_is_shown_as_a_file_of_ours_is_that_file() -> None:
    copies = [block for block in BLOCKS if block.mark.startswith("copy: ")]
    assert copies
    for block in copies:
        assert block.text == (ROOT / block.mark.removeprefix("copy: ")).read_text("utf-8")


@pytest.mark.stack
def test_a_target_made_from_the_page_is_broken_and_judged(shell: Shell) -> None:
    """In the order of the page: the second run is of a till that the page told to spoil."""
    for block in marked("run: stack"):
        check_console(block, shell)


def test_tests_that_the_documents_show_pass(clone: Path, shell: Shell) -> None:
    files = [b.mark.removeprefix("file: ") for b in BLOCKS if b.mark.startswith("file: ")]
    shown = [name for name in files if name.startswith("tests/")]
    assert len(shown) >= 2
    budgets = "tests/architecture/test_tidy.py::test_budgets_for_what_users_add"
    modules = " ".join(name for name in files if name.endswith(".py"))
    done = shell(
        f".venv/bin/ruff check --no-cache {modules} && "
        f".venv/bin/python -m pytest -m 'not stack' {' '.join(shown)} {budgets}"
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        there = (document.parent / name) if name else document
        assert there.exists(), f"{document.name}: {link}"
        assert not anchor or anchor in headings(there), f"{document.name}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_paths_exist(document: Path) -> None:
    there = tracked() | {
        block.mark.removeprefix("file: ") for block in BLOCKS if block.mark.startswith("file: ")
    }
    looks_like_a_path = re.compile(r"^[\w.-]+(/[\w.-]+)*/?$")
    for span in code_spans(document):
        if "/" not in span or span.startswith(MADE) or not looks_like_a_path.match(span):
            continue
        assert span.rstrip("/") in there, f"{document.name}: {span} does not exist"


def options_by_command() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_and_options_exist(document: Path) -> None:
    known = options_by_command()
    typed = [b for b in BLOCKS if b.document == document and b.language in ("sh", "console")]
    lines = [line for block in typed for line in block.text.splitlines()]
    for text in [*code_spans(document), *lines]:
        for found in re.finditer(r"(?:^|\.venv/bin/|\s)stormproof ([a-z][\w-]*)([^|>&]*)", text):
            command, rest = found[1], found[2]
            if re.search(r"git clone|import ", text):
                continue
            assert command in known, f"{document.name}: stormproof {command}"
            if command == "proxy":
                continue
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert option in known[command], f"{document.name}: {command} {option}"
        for goal in re.findall(r"(?:^|\s|`)make ([a-z-]+)", text):
            assert re.search(rf"^{goal}:", (ROOT / "Makefile").read_text(), re.M), goal


def test_everything_registered_is_mentioned() -> None:
    wiring.discover()
    text = " ".join(span for document in DOCUMENTS for span in code_spans(document))
    names = [name for rows in catalogue._KINDS.values() for name, _ in rows()]
    assert len(names) > 15
    unknown = [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)]
    assert not unknown, f"no document mentions {unknown}: say what they are for"


def test_the_readme_has_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+)", (ROOT / "README.md").read_text(), re.M)
    assert [int(code) for code, _ in rows] == [int(code) for code in ExitCode]
    for (_, word), code in zip(rows[:9], ExitCode, strict=False):
        assert code.sentence.lower().startswith(word.lower()), code


def test_every_record_type_is_explained() -> None:
    """The table beside the classes is the list; the how-to explains each."""
    source = (ROOT / "harness/core/records.py").read_text()
    types = re.findall(r"^\| `(\w+)` \|", source, re.M)
    page = (ROOT / "docs/how-to/read-a-run-directory.md").read_text()
    assert len(types) >= 15
    assert not [name for name in types if f"| `{name}` |" not in page]


def test_every_decision_is_listed_and_complete() -> None:
    folder = ROOT / "docs/adr"
    decisions = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert sorted(links(folder / "README.md")) == decisions
    for name in decisions:
        text = (folder / name).read_text("utf-8")
        for part in ("Context", "Decision", "Consequences", "Alternatives"):
            assert f"\n**{part}.** " in text, f"{name} lacks its {part.lower()}"


def test_an_expectation_that_is_not_met_is_noticed(shell: Shell) -> None:
    """The checks above can fail."""
    (command,) = commands(Block(ROOT / "x.md", 1, "run", "console", "$ echo one\none\ntwo\n"))
    assert missing(command, shell(command.line).stdout) == ["two"]
