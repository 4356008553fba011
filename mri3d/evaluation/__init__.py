"""Arrays in, numbers and intervals out."""
