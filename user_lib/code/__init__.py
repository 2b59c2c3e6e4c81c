"""Custom code at the analyst's side: its source, a try of it here, the slots that hold it."""
