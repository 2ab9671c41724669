"""The parts of serverless-flags. Importing any of them does nothing; only ``app.py`` builds things."""

VERSION = "1.0.0"
