"""The list of faults means something: the official EnvironmentWorker comes through all of it but for what docs/worker.md says.
labels: privileged slow timeout=600
"""
from harness import note, run
from support import equal
from worker_faults import play_all
from workers import OFFICIAL

# In the table of docs/worker.md, each with what happens.
LOST = {"a history that fails", "a result refused for good", "polls that fail", "a graceful stop", "what was open before, through three reconnects",
        "bash: an unclosed quote"}


def test(tmp):
    note("  what says FAILED is the official worker's; all of it must be in the list, and nothing else")
    check = play_all(tmp, OFFICIAL, at_once=6)
    equal(sorted(check.failed), sorted(LOST), "faults that it does not come through")


run(test)
