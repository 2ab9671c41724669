"""The read path: flags evaluated from one revision in memory. Knows nothing of a refresh."""
