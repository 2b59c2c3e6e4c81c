"""The published use cases, each a script that runs against any fleet: read, copy, change.

``python -m user_lib.examples.monitoring`` asks the fleet that `user_lib.connect` finds (start one
with ``oodida demo --keep``). Each has a function ``run(fleet, …)`` that returns what it found.
"""
