"""Healthy heads that do not exist: from a label map to scans of it. All of it is simulated."""
