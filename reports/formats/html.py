"""`report.html`: one file, without network or script, readable without its style."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.charts import palette
from reports.run import Run
from reports.section import Built
from reports.words import look, short_commit


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["short"] = short_commit
    return environment


def html(run: Run, sections: tuple[Built, ...]) -> str:
    """The whole page."""
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=run.record,
            look=look(run.record.verdict),
            sections=sections,
            on_dark=palette.ON_DARK,
        )
    )
    return "".join(line + "\n" for line in page.splitlines() if line.strip())
