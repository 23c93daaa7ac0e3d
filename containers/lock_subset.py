"""Prints the entries of the lock file that the named packages need in an image, with hashes.

    python containers/lock_subset.py requirements.lock extra:service 'psycopg[binary]' ...

`extra:NAME` stands for an optional-dependencies table of the pyproject.toml beside the lock file.

Markers are resolved here for the image (Linux, CPython 3.11), so that pip and uv agree and the
result does not depend on the machine that builds. What a package needs is read from the installed
one: both come from the same lock file.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The oldest patch release that a base image may have (Debian 12's), so that back-ports are in.
IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def lock_entries(text: str) -> dict[str, str]:
    """Maps each package of a lock file to its pin and hashes, without marker and comments."""
    entries: dict[str, str] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        name, pin = re.match(r"([A-Za-z0-9._-]+)(==[^\s;\\]+)", block.strip()).groups()
        hashes = re.findall(r"--hash=\S+", block)
        entries[canonicalize_name(name)] = " \\\n    ".join([name + pin, *hashes])
    return entries


def closure(roots: list[str]) -> set[str]:
    """Names every package that the roots need in the image."""
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(root) for root in roots]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = [Requirement(line) for line in requires(name) or []]
            except PackageNotFoundError:
                continue  # only the image needs it (a back-port): a leaf
            environment = IMAGE | {"extra": extra}
            todo += [n for n in needs if n.marker is None or n.marker.evaluate(environment)]
    return {name for name, _ in seen}


def expand(roots: list[str], project: Path) -> list[str]:
    """Replaces `extra:NAME` by the requirements of that extra."""
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    return [
        requirement
        for root in roots
        for requirement in (extras[root[6:]] if root.startswith("extra:") else [root])
    ]


def main() -> None:
    """Writes the subset to standard output."""
    lock_file, *roots = sys.argv[1:]
    entries = lock_entries(Path(lock_file).read_text())
    names = closure(expand(roots, Path(lock_file).with_name("pyproject.toml")))
    if missing := sorted(names - entries.keys()):
        raise SystemExit(
            f"lock_subset: {lock_file} has no entry for {', '.join(missing)}, needed by "
            f"{' '.join(roots)}; lock again"
        )
    print("\n".join(entries[name] for name in sorted(names)))


if __name__ == "__main__":
    main()
