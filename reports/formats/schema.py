"""`run.schema.json`: the JSON Schema of `run.json`, shipped beside this module.

`python -m reports.formats.schema` writes it anew after a change of the model.
"""

import json
from pathlib import Path

from harness.core.run_record import SCHEMA_VERSION, RunRecord

SCHEMA_FILE = Path(__file__).with_name("run.schema.json")


def schema() -> str:
    """The schema as text, as the file must hold it."""
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:stormproof:run:{SCHEMA_VERSION}",
        **RunRecord.model_json_schema(),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema(), encoding="utf-8")
