"""The errors of everything that can be wrong with a cluster."""


class ClusterError(ValueError):
    """The cluster can't do what was asked. The message is one sentence that says what was found and what to do."""


class ConnectionLost(Exception):
    """The cluster of a command that runs, or of a job that is followed, has stopped answering; says how to go on."""
