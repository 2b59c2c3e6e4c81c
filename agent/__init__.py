"""The vehicle: tasks, link, policy and the process that joins them (``oodida-agent``)."""
