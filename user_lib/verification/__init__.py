"""What came back, verified without trusting the cloud: signatures, completeness, aggregates."""
