"""The compose stack: the same target in containers, reached on published loopback ports."""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import HarnessError, SteadyStateError
from harness.core.stack import ProcessState
from harness.core.target import Target
from harness.core.waits import wait_until
from harness.stacks.base import BaseStack
from harness.stacks.options import StackOptions
from harness.stacks.processes import Command
from harness.stacks.proxies import HttpProxies
from harness.stacks.variant import make_copy

_UP_SECONDS = 240
_DOWN_SECONDS = 60
_ASK_SECONDS = 20
_PROXY_API_PORT = 8474
_DATABASE = {"user": "stormproof", "password": "stormproof", "dbname": "investment"}
_DOWN = ["down", "--volumes", "--remove-orphans", "--timeout", "1"]
# Where images keep the target's source; a variant's copy is mounted over it.
_SOURCE_IN_IMAGE = "/opt/target"


def compose_command() -> list[str]:
    """`docker compose` or `docker-compose`; raises `HarnessError` when there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
                return command
    raise HarnessError(
        "neither “docker compose” nor “docker-compose” is there",
        value="compose",
        fix="containers/install-engine.sh installs an engine on Debian; or use --stack embedded",
    )


class ComposeStack(BaseStack):
    """The processes of a target in containers of this run's own project."""

    kind = "compose"

    def __init__(self, target: Target, options: StackOptions, *, compose_file: Path) -> None:
        super().__init__(target, options)
        self._compose_file = compose_file
        self._project = f"stormproof-{options.run_id}"
        self._compose: list[str] = []

    # -- life ---------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the containers; raises `SteadyStateError` when one does not become ready."""
        self._require_engine()
        self._open()
        override = self._write_override(self.folder)
        files = ["-f", str(self._compose_file), "-f", str(override)]
        self._compose = [*compose_command(), "-p", self._project, *files]
        self.keeper.run_at_death([*self._compose, *_DOWN])
        process = self._spawn_compose("up", "-d")
        wait_until(lambda: process.poll() is not None, what="compose to start", seconds=_UP_SECONDS)
        if process.returncode:
            raise SteadyStateError(
                "compose could not start the stack",
                value=(self.folder / "compose.log").read_text()[-800:],
                where=str(self._compose_file.name),
                fix="are the images there? containers/build-images.sh makes them",
            )
        self.proxies = HttpProxies("127.0.0.1", self._published("proxy", _PROXY_API_PORT))
        self._wait(self.proxies.running, what="the fault proxy's API", log="proxy")
        self._check_proxies()
        entries = {entry: self.entry_url(entry) for entry in self.target.spec.entries}
        self._wait_ready({**self.direct_urls(), **entries})

    def _require_engine(self) -> None:
        try:
            done = subprocess.run(
                ["docker", "version"], capture_output=True, text=True, timeout=_ASK_SECONDS
            )
            answer = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            answer = str(error)
        if answer:
            raise HarnessError(
                "no container engine answers",
                value=answer[-300:],
                where="docker version",
                fix="start one (containers/install-engine.sh on Debian), or use --stack embedded",
            )

    def _spawn_compose(self, *arguments: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, **self.secrets, "STORMPROOF_RUN_ID": self.run_id}
        argv = [*self._compose, *arguments]
        return self.keeper.start(Command("compose", argv, env, self.folder / "compose.log"))

    def _write_override(self, folder: Path) -> Path:
        """What this run adds to the compose file: settings, a variant's source, hooks."""
        services: dict[str, dict[str, object]] = {}
        for process in self.target.spec.processes:
            services[process.name] = {"environment": {**self.settings, **process.env}}
            if self.hooks is not None:
                env = {"PYTHONPATH": _SOURCE_IN_IMAGE, **self.settings, **process.env}
                services[process.name] = {
                    "environment": self._hooked(process, env, mounted=True),
                    "volumes": [f"{at}:{there}:ro" for at, there in self.hooks.mounts().items()],
                }
        if self._options.edits:
            source = folder / "target"
            source.mkdir()
            make_copy(self.target.spec, self._options.edits, source)
            for process in self.target.spec.processes:
                volumes = services[process.name].setdefault("volumes", [])
                volumes.append(f"{source}:{_SOURCE_IN_IMAGE}:ro")  # type: ignore[attr-defined]
        path = folder / "override.json"
        # Every JSON document is a YAML document.
        path.write_text(json.dumps({"services": services}, indent=2))
        return path

    def down(self) -> None:
        """Remove containers, networks and volumes of this run; safe to call twice."""
        if self._compose and self._keeper is not None:
            env = {**os.environ, "STORMPROOF_RUN_ID": self.run_id}
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [*self._compose, *_DOWN], env=env, capture_output=True, timeout=_DOWN_SECONDS
                )
        self._close()

    # -- addresses ----------------------------------------------------------------------------

    def _containers(self) -> list[dict]:  # type: ignore[type-arg]
        label = f"label=com.docker.compose.project={self._project}"
        ids = self._docker("ps", "--all", "--quiet", "--filter", label).split()
        return json.loads(self._docker("inspect", *ids)) if ids else []

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_ASK_SECONDS
        )
        if done.returncode:
            raise HarnessError(
                "the container engine refused", value=done.stderr.strip()[-300:],
                where=f"docker {arguments[0]}",
            )  # fmt: skip
        return done.stdout

    def _published(self, service: str, port: int) -> int:
        for container in self._containers():
            if _service_of(container) == service:
                bound = container["NetworkSettings"]["Ports"].get(f"{port}/tcp") or []
                if bound:
                    return int(bound[0]["HostPort"])
        raise HarnessError(
            f"port {port} of “{service}” is not published on loopback",
            value=self._project,
            where=self._compose_file.name,
            fix="publish it as 127.0.0.1::PORT",
        )

    def entry_url(self, entry: str) -> str:
        """Where clients reach an entry: through its proxy."""
        listen = self.proxies.listening()[f"client-{entry}"]
        return f"http://127.0.0.1:{self._published('proxy', int(listen.rsplit(':', 1)[1]))}"

    def direct_urls(self) -> Mapping[str, str]:
        """The published addresses of listening processes past every proxy."""
        names = {process.name for process in self.target.spec.processes if process.listens}
        found = {}
        for container in self._containers():
            name = _service_of(container)
            for bound in container["NetworkSettings"]["Ports"].values():
                if name in names and bound:
                    found[name] = f"http://127.0.0.1:{bound[0]['HostPort']}"
        return found

    def dsn(self) -> str:
        """The database past every proxy, for the books."""
        parts = {"host": "127.0.0.1", "port": str(self._published("postgres", 5432)), **_DATABASE}
        return " ".join(f"{name}={value}" for name, value in parts.items())

    # -- readiness ----------------------------------------------------------------------------

    def _check_proxies(self) -> None:
        held = self.proxies.listening()
        missing = [link.name for link in self.target.spec.links if link.name not in held]
        if missing:
            raise SteadyStateError(
                "links without a proxy", value=", ".join(missing),
                where="containers/proxy/proxies.json", fix="add the missing links there",
            )  # fmt: skip

    # -- observing ----------------------------------------------------------------------------

    def processes(self) -> Sequence[ProcessState]:
        """The containers that run now, by the pid of their first process."""
        return [
            ProcessState(_service_of(c), c["State"]["Pid"], 0, c.get("RestartCount", 0))
            for c in self._containers()
            if c["State"]["Running"]
        ]

    def log(self, name: str, *, offset: int = 0) -> tuple[str, int]:
        """The text of a container's log from a byte offset on, and its new end."""
        for container in self._containers():
            if _service_of(container) == name:
                done = subprocess.run(
                    ["docker", "logs", container["Id"]],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=_ASK_SECONDS,
                )
                return done.stdout[offset:].decode("utf-8", "replace"), len(done.stdout)
        return "", 0

    def log_names(self) -> list[str]:
        """Names of all containers of this run."""
        return sorted(_service_of(container) for container in self._containers())


def _service_of(container: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    return container["Config"]["Labels"].get("com.docker.compose.service", "")
