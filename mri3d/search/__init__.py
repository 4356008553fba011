"""A search for settings: its space, its trials, what it makes better."""
