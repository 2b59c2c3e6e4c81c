"""Quality as data: what can be said of frames and buses as such, as signals."""
