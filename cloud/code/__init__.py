"""The analysts' code slots in the cloud: their contents, changes, and how far each vehicle is."""
