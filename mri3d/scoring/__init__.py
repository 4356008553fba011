"""From reconstruction to decision."""
