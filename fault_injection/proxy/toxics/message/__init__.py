"""Toxics that act on one decoded exchange instead of on a stream, by type."""

from __future__ import annotations

from fault_injection.proxy.toxics.message.answer import AnswerWithError
from fault_injection.proxy.toxics.message.base import MessageToxic
from fault_injection.proxy.toxics.message.hold import Delay, Hold
from fault_injection.proxy.toxics.message.reply import DropReply, Truncate
from fault_injection.proxy.toxics.message.reset import ResetAfter, ResetBefore
from fault_injection.proxy.toxics.message.twice import DeliverTwice

MESSAGE_TOXICS: dict[str, type[MessageToxic]] = {
    toxic.type: toxic
    for toxic in (
        ResetBefore,
        ResetAfter,
        DropReply,
        Truncate,
        Hold,
        Delay,
        DeliverTwice,
        AnswerWithError,
    )
}

__all__ = ["MESSAGE_TOXICS", "DropReply", "MessageToxic"]
