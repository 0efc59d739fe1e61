"""What every kind of run has: features and null labels, a driver of plans, counts of what is stored, live events."""
