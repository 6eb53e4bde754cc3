"""The verbs of the command `usjepa`, one module each; what they need is imported when they run."""
