"""All standard toxics by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fault_injection.proxy.toxics.endings import LimitData, ResetPeer, SlowClose, Timeout
from fault_injection.proxy.toxics.stream import Bandwidth, Latency, Noop, Slicer, Stage

if TYPE_CHECKING:
    from fault_injection.proxy.link import Link
    from fault_injection.proxy.toxics.model import Toxic

STAGES: dict[str, type[Stage]] = {
    stage.type: stage
    for stage in (
        Latency,
        Bandwidth,
        SlowClose,
        Timeout,
        ResetPeer,
        Slicer,
        LimitData,
        Noop,
    )
}


def make_stage(toxic: Toxic, link: Link) -> Stage:
    """The stage of a byte toxic on one direction of one connection."""
    return STAGES[toxic.type](toxic, link)
