"""Rules of logging: what a record is, what may be asked for, how audit events are chained."""
