"""From a chart to a static SVG that the page can hold: themed by CSS, named for screen readers."""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reports.content import Picture

if TYPE_CHECKING:
    import altair as alt

Specification = dict[str, object]
_ROOT = re.compile(r"^<svg[^>]*?viewBox=\"([^\"]+)\"[^>]*>")
_PLACES = re.compile(r' (?:d|transform|x2|y2)="[^"]*"')
_LONG_NUMBER = re.compile(r"(\d+\.\d)\d+")
_ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
_IN_TAGS = re.compile(r"<[^>]*>")
_LOCAL_IDS = re.compile(r'(id="|url\(#|href="#)((?:clip|gradient)[^")]*)')


def as_data(
    chart: "Callable[[], alt.VConcatChart]", datasets: Mapping[str, object]
) -> Specification:
    """Build a chart over named data sets and join the two.

    Altair would check and copy every value, which takes most of the time of a page; a test
    checks whole specifications against its schema instead.
    """
    import altair.utils.schemapi

    with altair.utils.schemapi.debug_mode(False):
        content: Specification = chart().to_dict(validate=False)
    return content | {"datasets": dict(datasets)}


def picture(content: Specification, *, name: str, title: str, description: str) -> Picture:
    """Draw a specification. The same one gives the same bytes."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(content, allowed_base_urls=[])
    return Picture(
        name=name,
        title=title,
        description=description,
        svg=_embedded(svg, name=name, title=title, description=description),
        specification=json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n",
    )


def _embedded(svg: str, *, name: str, title: str, description: str) -> str:
    """One image to a screen reader, with a title and a description; short numbers; own ids."""
    root = _ROOT.match(svg)
    if root is None:
        raise ValueError(f"the chart {name} was not drawn as an SVG: {svg[:80]!r}")
    body = _IN_TAGS.sub(lambda tag: _shorter(tag.group()), svg[root.end() :])
    body = _LOCAL_IDS.sub(rf"\g<1>{name}-\g<2>", body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{root.group(1)}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>{body}'
    )


def _shorter(tag: str) -> str:
    """A tag without what an image hides from screen readers, placed to a tenth of a pixel."""
    return _PLACES.sub(lambda place: _LONG_NUMBER.sub(r"\1", place.group()), _ROLES.sub("", tag))
