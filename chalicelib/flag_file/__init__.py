"""A flag file: what is in it, where each part of it stands, and small changes that leave the rest as it was."""
