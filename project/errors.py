"""The error that a person who starts Lockstep can meet."""


class ServiceError(Exception):
    """A server can't be started or reached. Its text is one line: what is wrong, how to mend it."""
