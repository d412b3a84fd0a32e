"""The git checkout that the program's code lies in, if it does."""

import subprocess
from dataclasses import dataclass
from functools import cache

from pipelines.fingerprint import ROOT


@dataclass(frozen=True)
class Head:
    """The commit of a checkout."""

    commit: str
    dirty: bool
    """Whether a file of the checkout differs from it."""

    def __str__(self) -> str:
        return self.commit[:7] + (" with changes" if self.dirty else "")


@cache
def head() -> Head | None:
    """The commit of the program's code; None where it is no checkout, as after an installation."""
    if not (ROOT / ".git").exists() or not (commit := _git("rev-parse", "HEAD")):
        return None
    return Head(commit, bool(_git("status", "--porcelain", "--untracked-files=no")))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
