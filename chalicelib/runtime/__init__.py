"""What depends on the process: cold start, logs, metrics. Knows nothing of flags."""
