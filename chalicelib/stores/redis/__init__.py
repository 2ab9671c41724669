"""Redis or Valkey as the flag store."""
