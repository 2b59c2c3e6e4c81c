"""The cloud: router, ledger, rounds and off-board methods (``oodida-cloud``)."""
