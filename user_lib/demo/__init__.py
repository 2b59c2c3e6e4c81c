"""The platform on one machine: a cloud and a few simulated vehicles, for a look or for tests."""
