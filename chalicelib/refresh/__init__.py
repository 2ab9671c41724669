"""The write path: LaunchDarkly's data set fetched, merged and written. Knows nothing of an evaluation."""
