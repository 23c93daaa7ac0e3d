"""The embedded stack: every process on this machine, servers from wheels, nothing installed."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from harness.core.errors import SteadyStateError
from harness.core.stack import ProcessState
from harness.core.target import LinkSpec, ProcessSpec, Target, TaskSpec
from harness.stacks.base import BaseStack
from harness.stacks.datastores import DATABASE, USER, Postgres, valkey_argv
from harness.stacks.options import StackOptions
from harness.stacks.ports import free_port
from harness.stacks.processes import Command
from harness.stacks.proxies import HttpProxies, ProxyPlan
from harness.stacks.variant import make_copy

_PASSWORD = "stormproof"


def _filled_in(text: str, port: int) -> str:
    values = {"host": "127.0.0.1", "user": USER, "password": _PASSWORD, "database": DATABASE}
    return text.format(**values, port=port)


class EmbeddedStack(BaseStack):
    """The processes of a target on loopback, each link through a proxy of its own."""

    kind = "embedded"

    def __init__(self, target: Target, options: StackOptions) -> None:
        super().__init__(target, options)
        self._ports: dict[str, int] = {}

    # -- life ---------------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything; raises `SteadyStateError` when something does not become ready."""
        self._open()
        for name in ("logs", "data", "tmp"):
            (self.folder / name).mkdir()
        self._source = self._make_source()
        self._allocate_ports()
        # What takes time is initdb and Python's imports, and there are few cores: first what all
        # the others wait for, beside it the imports of a task that can wait, then the rest at once.
        self._start_proxy()
        early = {task.name: self._start_task(task) for task in self.target.spec.tasks if task.early}
        self._start_datastores()
        for process in self.target.spec.processes:
            self._start_process(process)
        self._create_proxies()
        self._wait_for_database()
        for task in self.target.spec.tasks:
            self._finish_task(task, early.get(task.name) or self._start_task(task))
        self._wait_ready(self.direct_urls())

    def down(self) -> None:
        """End everything that this stack started; safe to call twice."""
        self._close()

    # -- addresses ----------------------------------------------------------------------------

    def _allocate_ports(self) -> None:
        spec = self.target.spec
        names = ["proxy", *(f"link:{link.name}" for link in spec.links)]
        names += [store.name for store in spec.datastores]
        names += [process.name for process in spec.processes if process.listens]
        self._ports = {name: free_port() for name in names}

    def entry_url(self, entry: str) -> str:
        """Where clients reach an entry: through its proxy."""
        name = entry if self._options.direct else f"link:client-{entry}"
        return f"http://127.0.0.1:{self._ports[name]}"

    def direct_urls(self) -> Mapping[str, str]:
        """The addresses of listening processes past every proxy."""
        return {
            process.name: f"http://127.0.0.1:{self._ports[process.name]}"
            for process in self.target.spec.processes
            if process.listens
        }

    def dsn(self) -> str:
        """The database past every proxy, for the books; empty for a target without one."""
        names = [store.name for store in self.target.spec.datastores if store.kind == "postgres"]
        if not names:
            return ""
        port = self._ports[names[0]]
        return f"host=127.0.0.1 port={port} user={USER} password={_PASSWORD} dbname={DATABASE}"

    def _address(self, link: LinkSpec, *, direct: bool) -> str:
        port = self._ports[link.to if direct else f"link:{link.name}"]
        return _filled_in(link.value, port)

    def _environment(self, process: str, *, direct: bool) -> dict[str, str]:
        env = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
            if name in os.environ
        }
        env |= self.settings
        # What a killed process leaves goes with the stack.
        env["TMPDIR"] = str(self.folder / "tmp")
        env |= {"PYTHONPATH": str(self._source), "PYTHONUNBUFFERED": "1"}
        for link in self.target.spec.links:
            if link.source == process and link.env:
                env[link.env] = self._address(link, direct=direct)
        return env

    # -- starting -----------------------------------------------------------------------------

    def _make_source(self) -> Path:
        if not self._options.edits:
            return self.target.spec.folder
        copy = self.folder / "target"
        copy.mkdir()
        make_copy(self.target.spec, self._options.edits, copy)
        return copy

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _start_proxy(self) -> None:
        port = self._ports["proxy"]
        argv = [*self._options.proxy_argv, "-host", "127.0.0.1", "-port", str(port)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        # Folders with our names in the working folder must not come first.
        env["PYTHONSAFEPATH"] = "1"
        self.keeper.start(Command("proxy", argv, env, self._log("proxy"), lasting=True))
        self.proxies = HttpProxies("127.0.0.1", port)

    def _start_datastores(self) -> None:
        for store in self.target.spec.datastores:
            port, log = self._ports[store.name], self._log(store.name)
            env = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
            if store.kind == "redis":
                argv = valkey_argv(port, self.folder / "data")
                self.keeper.start(Command(store.name, argv, env, log, restart=True))
                continue
            postgres = Postgres.find()
            home = self.folder / "data" / store.name
            home.mkdir(mode=0o700)
            if postgres.account is not None:
                os.chown(home, postgres.account.uid, postgres.account.gid)
                (self.folder / "data").chmod(0o711)
            postgres.initdb(home / "db")
            argv = postgres.argv(home / "db", home, port)
            account = postgres.account
            self.keeper.start(
                Command(store.name, argv, env, log, account, folder=Path("/"), restart=True)
            )

    def _start_process(self, process: ProcessSpec) -> None:
        values = {"python": self.target.spec.python, "port": str(self._ports.get(process.name, 0))}
        values["data"] = str(self.folder / "data")
        argv = [part.format(**values) for part in process.command]
        env = self._environment(process.name, direct=self._options.direct) | process.env
        env |= {name: self.secrets[name] for name in process.secrets}
        hooked = self._hooked(process, env)
        log = self._log(process.name)
        # `python -m` looks into the working folder first: it must be the target's own, or a run of
        # a variant from the wrong folder would start the unchanged service.
        command = Command(process.name, argv, hooked, log, folder=self._source, restart=True)
        self.keeper.start(command)

    def _create_proxies(self) -> None:
        self._wait(self.proxies.running, what="the fault proxy's API", log="proxy")
        self.proxies.create(
            [
                ProxyPlan(
                    link.name,
                    f"127.0.0.1:{self._ports[f'link:{link.name}']}",
                    f"127.0.0.1:{self._ports[link.to]}",
                    link.protocol,
                )
                for link in self.target.spec.links
            ]
        )

    def _wait_for_database(self) -> None:
        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn()):
                return True
            return False

        for store in self.target.spec.datastores:
            if store.kind == "postgres":
                self._wait(answers, what="PostgreSQL", log=store.name)

    def _start_task(self, task: TaskSpec) -> "subprocess.Popen[bytes]":
        argv = [part.format(python=self.target.spec.python) for part in task.command]
        stores = [store.name for store in self.target.spec.datastores if store.kind == "postgres"]
        port = self._ports[stores[0]] if stores else 0
        env = self._environment(task.like, direct=True) | dict(self.secrets)
        env |= {name: _filled_in(value, port) for name, value in task.env.items()}
        name = f"task-{task.name}"
        command = Command(name, argv, env, self._log(name), folder=self._source)
        return self.keeper.start(command)

    def _finish_task(self, task: TaskSpec, process: "subprocess.Popen[bytes]") -> None:
        name = f"task-{task.name}"
        self._wait(lambda: process.poll() is not None, what=f"task “{task.name}”", log=name)
        if process.returncode:
            raise SteadyStateError(
                f"task “{task.name}” of the target failed ({process.returncode})",
                value=self.log(name)[0].strip()[-600:],
                where=" ".join(task.command),
            )

    # -- observing ----------------------------------------------------------------------------

    def processes(self) -> Sequence[ProcessState]:
        """The processes that run now."""
        return self.keeper.states()

    def log(self, name: str, *, offset: int = 0) -> tuple[str, int]:
        """The text of a process's or server's log from a byte offset on, and its new end."""
        path = self._log(name)
        if not path.exists():
            return "", 0
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        return data.decode("utf-8", errors="replace"), offset + len(data)

    def log_names(self) -> list[str]:
        """Names of all logs that there are."""
        return sorted(path.stem for path in (self.folder / "logs").glob("*.log"))
