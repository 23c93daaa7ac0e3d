"""Numbers as Go prints them."""

from __future__ import annotations

import struct


def json_number(value: float) -> float | int:
    """The shortest number that is the same 32-bit float, as Go prints it."""
    single = struct.unpack("f", struct.pack("f", value))[0]
    if single.is_integer():
        return int(single)
    for digits in range(1, 10):
        short = float(f"{single:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", single):
            return short
    return single
