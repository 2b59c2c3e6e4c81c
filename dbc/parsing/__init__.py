"""Files of databases to messages and signals: DBC by a tolerant reader, KCD and SYM by cantools."""
