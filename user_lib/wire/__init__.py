"""What both ends of the link share: framing over sockets, sessions, configuration loading."""
