"""The machine's side of CAN: interfaces, recorded logs, a simulated car, as batches of frames."""
