"""PostgreSQL refuses to run as root: who runs it instead, and files that this user can read."""

import contextlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import HarnessError

_CANDIDATES = ("nobody", "postgres", "daemon")


@dataclass(frozen=True)
class Account:
    """A user that exists in the password database, which initdb insists on."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Whom to run PostgreSQL as: None for ourselves, another account when we are root."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise HarnessError(
        "PostgreSQL does not run as root and there is no other user",
        value=", ".join(_CANDIDATES),
        fix="add one of these users, or run stormproof as an ordinary user",
    )


def readable_copy(folders: list[Path], *, label: str) -> Path:
    """A folder with copies of `folders` that every user can read, made once and then reused.

    A clone may stand below a folder that only root can enter, so files are copied out of it. The
    copy is trusted only when root owns it and nobody else can write to it.
    """
    home = Path(tempfile.gettempdir()) / f"stormproof-{label}"
    if _trusted(home):
        return home
    staging = Path(tempfile.mkdtemp(prefix=f"stormproof-{label}-"))
    for folder in folders:
        shutil.copytree(folder, staging / folder.name, symlinks=True)
    for path in [staging, *staging.rglob("*")]:
        if not path.is_symlink():
            path.chmod((path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0)) & 0o755)
    try:
        staging.rename(home)
    except OSError:
        # Another run was quicker, or something untrusted stands there.
        if not _trusted(home):
            return staging
        shutil.rmtree(staging, ignore_errors=True)
    return home


def _trusted(home: Path) -> bool:
    try:
        info = home.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022
