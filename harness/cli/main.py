"""The entry point: whatever happens, the caller gets the exit code that says what it was.

Python ends with 1 on any uncaught exception, and 1 means “money was lost” here. So everything,
imports included, happens inside a wrapper that turns errors of ours into their own codes.
"""

import sys

_HARNESS = 6


def entry() -> None:
    """Run the command line and exit."""
    try:
        from harness.cli.outcome import run_app
    except BaseException as error:  # noqa: BLE001 - an ImportError must not become 1
        print(f"stormproof cannot start: {type(error).__name__}: {error}", file=sys.stderr)
        print("next: reinstall with: make setup", file=sys.stderr)
        sys.exit(_HARNESS)
    sys.exit(run_app(sys.argv[1:]))


if __name__ == "__main__":
    entry()
