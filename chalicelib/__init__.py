"""The parts of serverless-flags. Importing any of them does nothing; only ``wiring.py`` builds things."""

VERSION = "1.0.0"

RECONCILE_MINUTES = 5
"""How often the schedule refreshes the store without a webhook."""
