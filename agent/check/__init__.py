"""``oodida-agent check``: what is right and wrong with this vehicle, on one screen."""
