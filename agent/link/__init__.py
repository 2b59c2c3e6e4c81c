"""The vehicle's end of the link: the pure session and the socket that it speaks through."""
