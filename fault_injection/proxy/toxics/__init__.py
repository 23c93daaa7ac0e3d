"""Toxics by type: byte toxics shape a stream, message toxics act on one decoded exchange."""

from __future__ import annotations

from fault_injection.proxy.toxics.message import MESSAGE_TOXICS, MessageToxic
from fault_injection.proxy.toxics.model import Toxic, create_toxic, update_toxic
from fault_injection.proxy.toxics.stages import STAGES, make_stage
from fault_injection.proxy.toxics.stream import Stage

__all__ = [
    "MESSAGE_TOXICS",
    "STAGES",
    "MessageToxic",
    "Stage",
    "Toxic",
    "create_toxic",
    "make_stage",
    "update_toxic",
]
