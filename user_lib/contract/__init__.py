"""The language everyone speaks: no I/O, no sockets, importable anywhere.

The analyst, the cloud and the vehicle import this package and nothing of each other; they meet on
the wire. Every module here is pure: it parses, checks, describes, and decides.
"""
