"""Where peers come in: the socket, who may open a connection, how much of each is taken."""
