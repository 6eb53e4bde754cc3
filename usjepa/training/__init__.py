"""The two training loops, what they share, and the folders that they leave behind."""
