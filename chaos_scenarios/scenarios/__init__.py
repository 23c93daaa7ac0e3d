"""Scenarios, one outage story each."""
