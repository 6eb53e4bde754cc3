"""What the notebooks show: arrays in, pictures out. Nothing here knows a model or a training loop."""
