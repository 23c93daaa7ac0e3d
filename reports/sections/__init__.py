"""Sections of the report, one file each; see `reports.section`."""
