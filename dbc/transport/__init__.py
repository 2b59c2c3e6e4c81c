"""Payloads longer than a frame: the protocols that carry them, and putting them together."""
