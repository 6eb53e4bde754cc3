"""Weights as files: those of others read without running code and loaded strictly, ours written, any fetched."""
