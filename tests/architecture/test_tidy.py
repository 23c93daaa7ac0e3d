"""Style that tools do not know: each message names the place and what to use instead."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("harness", "fault_injection", "load", "chaos_scenarios", "reports")
MODULE_LINES_MAX, FUNCTION_LINES_MAX = 400, 60

# What is banned, what to use instead, and the files that are its proper place.
BANNED = [
    (r"\btime\.sleep\(", "harness.core.waits.wait_until", {
        "harness/core/clock.py", "harness/stacks/guardian.py",
    }),
    (r"^\s*(import random|from random import)", "harness.core.seeds.Seed", {
        "harness/core/seeds.py", "fault_injection/proxy/chance.py",
    }),
    (r"\b(secrets|uuid)\.(token_|randbits|uuid[14]\()", "harness.core.seeds", {
        "harness/core/seeds.py", "fault_injection/proxy/api.py",
    }),
    (r"\btime\.(time|time_ns|monotonic|monotonic_ns|perf_counter)\(", "harness.core.clock", {
        "harness/core/clock.py", "harness/stacks/guardian.py", "fault_injection/proxy/clock.py",
    }),
    (r"\bdatetime\.(now|utcnow|today)\(", "harness.core.clock.utc_now", {"harness/core/clock.py"}),
    (r"\bfloat\([^)]*(amount|minor|balance)", "integers of minor units", set()),
    (r"except\s*:", "a named exception", set()),
    (r"\b(TODO|FIXME|XXX)\b", "an issue, and a name for it", set()),
]  # fmt: skip


def tracked(*suffixes: str) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    paths = [ROOT / name for name in names if name.endswith(suffixes)]
    return [path for path in paths if path.is_file()]


def our_modules() -> list[Path]:
    return [p for p in tracked(".py") if p.relative_to(ROOT).parts[0] in OURS]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_check() -> None:
    assert len(our_modules()) > 60


@pytest.mark.parametrize(("pattern", "instead", "allowed"), BANNED, ids=[b[1] for b in BANNED])
def test_banned(pattern: str, instead: str, allowed: set[str]) -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()} is banned here, use {instead}"
        for path in our_modules()
        if relative(path) not in allowed
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


def test_modules_and_functions_are_short() -> None:
    found = []
    for path in [*our_modules(), *(ROOT / "system_under_test").rglob("*.py")]:
        text = path.read_text("utf-8")
        lines = len(text.splitlines())
        if lines > MODULE_LINES_MAX:
            found.append(f"{relative(path)}: {lines} lines, at most {MODULE_LINES_MAX}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    found.append(f"{relative(path)}:{node.lineno}: {node.name} has {length} lines")
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is_for() -> None:
    found = [
        relative(path)
        for path in our_modules()
        if path.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not found, f"without a docstring: {found}"


def test_nothing_names_this_machine_or_a_registry() -> None:
    hosts = r"pyp[i]\.org|python[h]osted\.|registry\.npm[j]s|crates\.i[o]/|proxy\.golan[g]"
    here = re.escape(str(ROOT.parent)) if len(str(ROOT.parent)) > 4 else r"\A\Z"
    pattern = re.compile(f"{hosts}|{here}/")
    found = [
        f"{relative(path)}:{number}"
        for path in tracked(".py", ".md", ".toml", ".lock", ".yml", ".sh", "Dockerfile", "Makefile")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_service_knows_nothing_of_the_harness() -> None:
    words = re.compile(r"stormproof|chaos|harness|fault_inject|toxi|injection point", re.IGNORECASE)
    folders = [ROOT / "system_under_test" / name for name in ("investment", "partner")]
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for folder in folders
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert not found, "\n".join(found)


def test_budgets_for_what_users_add() -> None:
    budgets = {"fault_injection/faults": 30, "chaos_scenarios/scenarios": 30,
               "chaos_scenarios/invariants": 40, "reports/sections": 50}  # fmt: skip
    found = []
    for folder, lines_max in budgets.items():
        for path in (ROOT / folder).glob("*.py"):
            code = _code_lines(path.read_text("utf-8"))
            if path.name != "__init__.py" and code > lines_max:
                found.append(f"{relative(path)}: {code} lines of code, at most {lines_max}")
    assert not found, "\n".join(found)


def _code_lines(text: str) -> int:
    """Lines without blank ones, comments and docstrings."""
    tree = ast.parse(text)
    prose: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            prose |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and number not in prose
    )
