from __future__ import annotations

MESSAGE_TOXICS: dict = {}
class MessageToxic:
    pass
