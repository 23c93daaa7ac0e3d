"""What every kind of stack does the same way: a scratch folder, a keeper, waiting to be ready."""

import contextlib
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import urllib3

from harness.core.errors import HarnessError, SteadyStateError
from harness.core.seeds import bearer_token
from harness.core.target import ProcessSpec, Target
from harness.core.waits import wait_until
from harness.stacks.options import StackOptions
from harness.stacks.processes import Command, Keeper
from harness.stacks.proxies import HttpProxies

_LOG_TAIL_CHARACTERS = 600


class BaseStack(ABC):
    """The part that stacks share; `kind` is what the command line calls one."""

    kind = ""

    def __init__(self, target: Target, options: StackOptions) -> None:
        self.target = target
        self.run_id = options.run_id
        self.settings = {**target.spec.settings, **options.settings}
        self.secrets = target.door.secrets(lambda name: bearer_token(options.seed, name))
        self.proxies: HttpProxies
        self.hooks = options.hooks
        self._options = options
        self._keeper: Keeper | None = None
        self._folder: Path | None = None
        self._helpers = 0

    def _open(self) -> None:
        """Make the scratch folder, and the keeper with its guardian, who removes it."""
        # A short name, because the paths of UNIX sockets are short; others may pass through it.
        self._folder = Path(tempfile.mkdtemp(prefix="stormproof-run-"))
        self._folder.chmod(0o711)
        self._keeper = Keeper(self.run_id, self._options.on_event)
        self._keeper.remove_at_death(self._folder)

    def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def keeper(self) -> Keeper:
        """The keeper of this stack's processes; raises `HarnessError` before `up`."""
        if self._keeper is None:
            raise HarnessError("the stack is not up", value=self.run_id)
        return self._keeper

    @property
    def folder(self) -> Path:
        """The stack's own scratch folder, removed at the end."""
        if self._folder is None:
            raise HarnessError("the stack is not up", value=self.run_id)
        return self._folder

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a helper process of the harness that ends with the stack."""
        self._helpers += 1
        name = f"helper-{self._helpers}"
        return self.keeper.start(Command(name, argv, env, log, pass_fds=pass_fds))

    def _hooked(
        self, process: ProcessSpec, env: Mapping[str, str], *, mounted: bool = False
    ) -> Mapping[str, str]:
        """The environment of a process, with what hooks need when it is one of Python."""
        if self.hooks is None or process.command[0] != "{python}":
            return env
        return self.hooks.environment(process.name, env, mounted=mounted)

    @abstractmethod
    def log(self, name: str, *, offset: int = 0) -> tuple[str, int]:
        """The text of a process's or server's log from a byte offset on, and its new end."""

    def _wait(self, condition: Callable[[], bool], *, what: str, log: str) -> None:
        try:
            wait_until(condition, what=what, seconds=self._options.ready_seconds)
        except HarnessError as error:
            raise SteadyStateError(
                f"the stack is not ready: {what}",
                value=self.log(log)[0].strip()[-_LOG_TAIL_CHARACTERS:] or error.value,
                where=f"log of {log}",
                fix="the log says why; the stack was taken down again",
            ) from None

    def _wait_ready(self, urls: Mapping[str, str]) -> None:
        """Wait until every process that has a readiness page answers 200 there."""
        http = urllib3.PoolManager(timeout=2, retries=False)
        for process in self.target.spec.processes:
            if not process.ready or process.name not in urls:
                continue
            url = urls[process.name] + process.ready

            def ready(url: str = url) -> bool:
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    return http.request("GET", url).status == 200
                return False

            self._wait(ready, what=f"{process.name} at {process.ready}", log=process.name)
