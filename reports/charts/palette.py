"""Colours of charts. Okabe and Ito's set, which readers with red-green blindness can tell apart.

The page restyles these exact values for dark screens, so charts must use no other colour.
"""

OK = "#0072b2"
REFUSED = "#009e73"
UNKNOWN = "#cc79a7"
VIOLATED = "#d55e00"
FAULT = "#e69f00"
INK = "#1f2328"
MUTED = "#59636e"
LINE = "#d1d9e0"
BAND = "#eef1f4"

# What each becomes on a dark screen.
ON_DARK = {
    OK: "#56b4e9",
    REFUSED: "#2fc39b",
    UNKNOWN: "#e5a3c9",
    VIOLATED: "#ff7d3b",
    FAULT: "#e8b23a",
    INK: "#e6edf3",
    MUTED: "#9aa5b1",
    LINE: "#39424d",
    BAND: "#222931",
}
