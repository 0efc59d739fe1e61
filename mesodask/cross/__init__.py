"""Cross-session runs: models of training sessions, their scores on the others, their cost and their table."""
