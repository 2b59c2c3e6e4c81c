"""CAN databases: load, repair with a warning, compile a plan once, decode and encode in batches."""
