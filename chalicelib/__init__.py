"""The parts of serverless-flags. Importing any of them does nothing; only ``wiring.py`` builds things."""

VERSION = "1.0.0"

RECONCILE_MINUTES = 5
"""How often the schedule refreshes the store without a webhook."""

DELIVER_MINUTES = 1
"""How often the schedule sends events to LaunchDarkly."""
