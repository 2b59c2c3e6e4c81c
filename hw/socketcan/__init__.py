"""SocketCAN: its sockets, the frames of their datagrams, times that no clock setting moves."""
