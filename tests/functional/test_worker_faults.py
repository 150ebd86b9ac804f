"""What goes wrong between a worker and its service costs no call and runs none twice: every fault of a list, each by name, by a proxy that
stands between `glovebox worker` and the brain; and what the tools are asked by those who mean no good.
labels: privileged timeout=300
"""
from harness import run
from worker_faults import play_all
from workers import OURS


def test(tmp):
    play_all(tmp, OURS).done()


run(test)
