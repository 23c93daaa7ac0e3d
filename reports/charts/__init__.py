"""Charts: built as Vega-Lite data with Altair, drawn as static SVG without a browser."""
