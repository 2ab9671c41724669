"""LaunchDarkly's SDK: every client of it is made here."""
