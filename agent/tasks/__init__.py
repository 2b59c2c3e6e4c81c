"""Tasks of a vehicle: their pure life cycle, code slots, order of the worker slots, the table."""
