"""The built-in methods, a file each with both halves: compute on a window, merge the results.

`registry` finds them by name; `method` says what a method is.
"""
