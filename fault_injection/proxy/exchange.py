from __future__ import annotations


class Exchange:
    pass
