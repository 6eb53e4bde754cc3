"""Ultrasound videos: read, made up (the phantom), prepared, and cut into clips."""
