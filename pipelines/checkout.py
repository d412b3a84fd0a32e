"""The git checkout that the program's code lies in, or lay in where a job was submitted from."""

import os
import subprocess
from dataclasses import dataclass
from functools import cache

from pipelines.fingerprint import ROOT

COMMIT = "LABS_COMMIT"
"""Variable by which a submitted job, whose code is no checkout, knows the commit that it was submitted from."""
DIRTY = "-dirty"
"""What follows the commit there if a file differs from it, as `git describe` has it."""


@dataclass(frozen=True)
class Head:
    """The commit of a checkout."""

    commit: str
    dirty: bool
    """Whether a file of the checkout differs from it."""

    def __str__(self) -> str:
        return self.commit[:7] + (" with changes" if self.dirty else "")

    def variables(self) -> dict[str, str]:
        """What a submitted job finds in its environment."""
        return {COMMIT: self.commit + (DIRTY if self.dirty else "")}


@cache
def head() -> Head | None:
    """The commit of the program's code; None where nobody knows it, as after an installation."""
    if (ROOT / ".git").exists() and (commit := _git("rev-parse", "HEAD")):
        return Head(commit, bool(_git("status", "--porcelain", "--untracked-files=no")))
    if given := os.environ.get(COMMIT):
        return Head(given.removesuffix(DIRTY), given.endswith(DIRTY))
    return None


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
