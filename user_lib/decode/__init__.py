"""A recorded log and its databases to files of signals: the engine of ``oodida decode``."""
