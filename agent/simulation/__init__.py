"""This agent many times in one process, with light vehicles: load for the tests of a cloud."""

from agent.simulation.fleet import simulate

__all__ = ["simulate"]
