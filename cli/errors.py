"""What the command line says instead of a traceback."""


class CliError(Exception):
    """A failure a person can act on: the message says what happened and, where we know it, what to do."""
