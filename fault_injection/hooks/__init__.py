"""Fault hooks at function boundaries inside a target's processes, attached from outside."""

from fault_injection.hooks.controller import HookController
from fault_injection.hooks.term import Term, parse_term

__all__ = ["HookController", "Term", "parse_term"]
