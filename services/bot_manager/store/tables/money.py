"""Apps with their breakers, windows of rate limits, and money spent."""
