"""A simulated car: a seeded drive, or one after a speed table, as the frames of its buses."""
