"""Start the partner: `python -m partner --host 127.0.0.1 --port P --journal FILE`."""

import argparse
import os
from pathlib import Path

import uvicorn

from .app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="partner", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(
            arguments.journal,
            api_key=os.environ.get("PARTNER_API_KEY", ""),
            callback_secret=os.environ.get("PARTNER_CALLBACK_SECRET", ""),
        ),
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=75,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
