"""Trains a project's run1 in a process that may take only so many MiB more than it has when the steps begin.

`python -m tests.training.limited PROJECT MIB`
"""

import resource
import sys
from pathlib import Path

import psutil

from lora_nb.project import open_project
from lora_nb.training.events import RunStarted, TrainEvent
from lora_nb.training.runs import train_project


def main() -> None:
    more = int(sys.argv[2]) * 2**20

    def limit(event: TrainEvent) -> None:
        if isinstance(event, RunStarted) and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, resource.RLIM_INFINITY))

    train_project(open_project(Path(sys.argv[1])), run="run1", on_event=limit)


if __name__ == "__main__":
    main()
