"""The hooks of a process: arms and disarms them, also in modules that are imported later."""

import contextlib
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType

from . import resolve, swap, trace
from .agent import Agent
from .firing import Arm, Hook

_LOOKS_BEFORE_CHECK = 40


class Table:
    """What is armed here. Orders come one at a time, under the agent's lock."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._trace = trace.from_frames
        self._arms: dict[str, Arm] = {}
        self._hooks: dict[FunctionType, Hook] = {}
        self._looks_left: dict[str, int] = {}
        self.awaited: dict[str, list[Arm]] = {}
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def obey(self, line: bytes) -> None:
        """Do what an order says: arm one, disarm one, or have exactly these armed."""
        order = json.loads(line)
        if "resolver" in order:
            self._trace = trace.resolver(order["resolver"])
            for hook in self._hooks.values():
                hook.trace = self._trace
        if "arm" in order:
            self._arm(_arm(order["arm"]), order["resolver"])
        elif "disarm" in order:
            self._disarm(order["disarm"])
            self._say(order["disarm"], "disarmed")
        else:
            wanted = [_arm(each) for each in order.get("arms", ())]
            for arm_id in set(self._arms) - {arm.id for arm in wanted}:
                self._disarm(arm_id)
            for arm in wanted:
                if arm.id not in self._arms:
                    self._arm(arm, order["resolver"], starting=True)

    def clear(self) -> None:
        """Disarm everything."""
        for arm_id in list(self._arms):
            self._disarm(arm_id)

    def _say(self, arm_id: str, state: str, detail: str = "", kind: str = "") -> None:
        message = {"answer": arm_id, "state": state, "detail": detail, "kind": kind}
        self._agent.say(json.dumps(message).encode())

    # -- arming -----------------------------------------------------------------------------------

    def _arm(self, arm: Arm, resolver: str, *, starting: bool = False) -> None:
        """Arm, or say why not. While the process starts, the path to its modules may be unset."""
        try:
            trace.check(resolver if arm.trace else "frames")
            for path in () if starting else arm.exceptions:
                resolve.make_exception(path, "text", load=False)
            module = resolve.loaded(arm.module)
            if module is None or resolve.initializing(module):
                if starting:
                    self._looks_left[arm.id] = _LOOKS_BEFORE_CHECK
                elif module is None:
                    resolve.check_source(resolve.locate(arm.module), arm.qualname)
                self._arms[arm.id] = arm
                self.awaited.setdefault(arm.module, []).append(arm)
                self._say(arm.id, "waiting")
            else:
                self._install(arm, module)
        except Exception as error:
            self._refuse(arm, error)

    def _refuse(self, arm: Arm, error: Exception) -> None:
        self._disarm(arm.id)
        found = isinstance(error, resolve.NotFoundError)
        self._say(arm.id, "unknown", str(error) if found else repr(error))

    def _install(self, arm: Arm, module: ModuleType) -> None:
        functions = resolve.functions(module, arm.qualname)
        self._arms[arm.id] = arm
        for function in functions:
            hook = self._hooks.get(function)
            if hook is None:
                hook = self._hooks[function] = Hook(function, self._agent.path, self._trace)
            hook.add(arm)
        code = self._hooks[functions[0]].original_code
        where = f"{code.co_filename}:{code.co_firstlineno}"
        self._say(arm.id, "installed", where, swap.kind_of(code))

    def _disarm(self, arm_id: str) -> None:
        self._arms.pop(arm_id, None)
        self._looks_left.pop(arm_id, None)
        for function, hook in list(self._hooks.items()):
            if hook.remove(arm_id):
                del self._hooks[function]
        for name, arms in list(self.awaited.items()):
            arms[:] = [arm for arm in arms if arm.id != arm_id]
            if not arms:
                del self.awaited[name]

    # -- modules that are imported later ----------------------------------------------------------

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None):  # noqa: ANN201
        """The spec that the other finders give, so made that its module is hooked once it ran."""
        if name not in self.awaited:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                self._hook_when_run(spec)
                return spec
        return None

    def _hook_when_run(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # type: ignore[union-attr]
            execute(module)
            self._hook_now(spec.name, module)

        # A loader that takes no attribute is left alone: the thread looks at its module later.
        with contextlib.suppress(AttributeError):
            loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]

    def _hook_now(self, name: str, module: ModuleType) -> None:
        with self._agent.lock:
            for arm in self.awaited.pop(name, []):
                try:
                    self._install(arm, module)
                except Exception as error:
                    self._refuse(arm, error)

    def look_again(self) -> None:
        """Hook what was imported between an order and its watch on imports; and once the process
        has started, say which of what was armed before cannot be imported."""
        for name in list(self.awaited):
            module = resolve.loaded(name)
            if module is not None and not resolve.initializing(module):
                self._hook_now(name, module)
        for arm_id in list(self._looks_left):
            self._looks_left[arm_id] -= 1
            if self._looks_left[arm_id] == 0:
                self._check_late(self._arms[arm_id])

    def _check_late(self, arm: Arm) -> None:
        """The hook stays armed, for the path may be changed even later."""
        with self._agent.lock:
            del self._looks_left[arm.id]
            try:
                if resolve.loaded(arm.module) is None:
                    resolve.check_source(resolve.locate(arm.module), arm.qualname)
            except resolve.NotFoundError as error:
                self._say(arm.id, "unknown", str(error))


def _arm(order: dict) -> Arm:
    return Arm(
        order["id"], order["module"], order["qualname"], order["event"], order["trace"],
        tuple(order["exceptions"]),
    )  # fmt: skip
