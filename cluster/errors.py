"""What can be wrong with a cluster, as one clear sentence each."""


class ClusterError(ValueError):
    """The cluster can't do what was asked. The message is one sentence that says what was found and what to do."""
