"""Makes posts of schedules: the expander, and the sources that their content comes from."""
