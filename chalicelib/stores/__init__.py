"""The flag stores, each a reader for evaluations and a writer for refreshes, behind the port."""
