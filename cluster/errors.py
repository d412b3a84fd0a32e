"""The errors of everything that can be wrong with a cluster."""


class ClusterError(ValueError):
    """The cluster can't do what was asked. The message is one sentence that says what was found and what to do."""


class ConnectionLost(Exception):
    """A job was being followed and its cluster has stopped answering. The message says how to go on."""
