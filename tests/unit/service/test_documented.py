"""The table of settings in the documents is the settings."""

import re
from pathlib import Path

from investment.settings import Settings

PAGE = Path(__file__).parents[3] / "docs/operate-the-service.md"


def test_every_setting_is_documented_with_its_default() -> None:
    told = dict(re.findall(r"^\| `INVESTMENT_(\w+)` \| (.+?) \|", PAGE.read_text(), re.M))
    found = {
        name.upper(): "required"
        if field.is_required()
        else (f"`{field.default}`" if field.default != "" else "empty")
        for name, field in Settings.model_fields.items()
    }
    assert told == found
