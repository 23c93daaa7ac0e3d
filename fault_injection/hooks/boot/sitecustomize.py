"""Starts the hook agent in a Python process whose PYTHONPATH begins with this folder.

Python imports a module of this name when it starts, in spawned children too. One that the target
has of its own is run as well. What is imported here is paid for by every start, so it is little.
"""

import os
import sys
from importlib.machinery import PathFinder

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _run_the_targets_own() -> None:
    """What would have been imported under this name had we not stood in front of it."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("STORMPROOF_HOOKS"):
    from stormproof_hooks import agent

    agent.start(os.environ["STORMPROOF_HOOKS"], os.environ.get("STORMPROOF_HOOKS_PROCESS", '""'))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _FOLDER]
_run_the_targets_own()
