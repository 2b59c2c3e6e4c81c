"""Frames to values, in batches: what a database says is compiled once, then run with numpy."""
