"""Why there is no data, link by link: the engine of ``oodida doctor``."""
