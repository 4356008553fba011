"""What the trainer is made of."""
