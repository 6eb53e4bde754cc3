"""Scores of label maps and the health of features; reads arrays and tables, never a training loop."""
