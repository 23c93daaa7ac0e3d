"""The service is imported as its processes import it: from the folder system_under_test."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "system_under_test"))
