"""A fault proxy with Toxiproxy's API that also understands PostgreSQL, Redis and HTTP messages."""
