"""The analyst's side of OODIDA: ``import user_lib; fleet = user_lib.connect()``."""
