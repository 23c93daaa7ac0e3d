"""A process that dies at one exact place of its code."""

from dataclasses import dataclass

import psutil

from fault_injection.hooks.fault import HookFault
from harness.core.fault import Observed, Proof, fault
from harness.stacks.guardian import start_time


@fault("hook-kill")
@dataclass(kw_only=True, eq=False)
class HookKill(HookFault):
    """A process dies by SIGKILL as it enters or leaves a function, once, while it serves one trace.

    The observer is the kernel: it names the process that reached the hook, by pid and start time,
    and says that it is no more.
    """

    term: str = "1*kill"

    def proof(self, seen: Observed) -> Proof:
        """The process that reached the hook no longer runs."""
        reached = [event for event in self.claims() if event.kind == "before"]
        if not reached:
            return Proof(False, "kernel", {"hook": "says that it was not reached"})
        hit = reached[0]
        runs = start_time(hit.pid) == hit.started and not _is_zombie(hit.pid)
        evidence = {"pid": str(hit.pid), "started": hit.started, "runs": str(runs).lower()}
        return Proof(bool(hit.started) and not runs, "kernel", evidence, hit.at_ns)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
