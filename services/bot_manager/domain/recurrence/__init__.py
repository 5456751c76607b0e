"""When schedules recur: rules on the wall clock, instants, what is skipped, and words for people. Pure."""
