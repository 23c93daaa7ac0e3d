"""Profiles: named selections of scenarios, as data."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core.errors import UsageError, unknown_name


class Profile(BaseModel):
    """A named selection: the scenarios to run, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    summary: str
    scenarios: tuple[str, ...]


def load_profiles(path: Path) -> dict[str, Profile]:
    """All profiles of a file; raises `UsageError` when it cannot be read."""
    fix = "see docs/how-to/add-a-scenario.md"
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        return {name: Profile(**content) for name, content in raw.items()}
    except OSError as error:
        raise UsageError("the profiles cannot be read", value=str(error), where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("not TOML", value=str(error), where=str(path), fix=fix) from None
    except (ValidationError, TypeError) as error:
        raise UsageError(
            "a profile is not valid", value=str(error), where=str(path), fix=fix
        ) from None


def profile_named(name: str, path: Path) -> Profile:
    """The profile of that name; raises `UsageError` with suggestions."""
    profiles = load_profiles(path)
    if name not in profiles:
        raise unknown_name("profile", name, profiles, where=str(path))
    return profiles[name]
