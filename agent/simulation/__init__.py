"""This agent many times in one process, with light vehicles: load for the tests of a cloud."""

from agent.simulation.fleet import Plan, simulate
from agent.simulation.identities import write_cards

__all__ = ["Plan", "simulate", "write_cards"]
