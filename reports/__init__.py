"""Reports: read a run directory, and nothing else, and write what people and CI read."""

from pathlib import Path

from reports.formats import junit
from reports.formats.html import html
from reports.formats.summary import summary
from reports.pictures import pictures
from reports.run import load
from reports.section import build

__all__ = ["render"]


def render(run_dir: Path) -> list[Path]:
    """Write the report of a run beside its records; returns the files written.

    The same `run.json` and `journal.ndjson` give the same bytes. Raises `HarnessError` without a
    run and `EvidenceError` for a damaged one, before anything is written.
    """
    run = load(run_dir)
    sections = build(run)
    texts = {
        run_dir / "report.html": html(run, sections),
        run_dir / "summary.md": summary(run, sections),
        run_dir / "junit.xml": junit.junit(run),
    }
    texts |= {
        run_dir / "charts" / f"{picture.name}.vl.json": picture.specification
        for picture in pictures(sections)
    }
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(texts)
