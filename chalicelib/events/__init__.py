"""Analytics events: gathered where flags are evaluated, left in the store, and delivered to LaunchDarkly."""
