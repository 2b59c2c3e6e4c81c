"""What every message had in its frames, as far back as a fixed amount of memory reaches."""
