"""A mount namespace: file systems that only the processes of a test see."""

import subprocess

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    """Whether this user may make a mount namespace and mount a file system in it."""
    try:
        tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=10)
    except OSError:
        return False
    return tried.returncode == 0
