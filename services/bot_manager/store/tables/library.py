"""Media: what is known of each file, and its bytes."""
