"""Drivers: who performs the journeys of a load at once, threads here or Locust next door."""
