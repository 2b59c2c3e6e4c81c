"""``oodida replay``: a recorded or simulated drive on a CAN interface, for developers."""
