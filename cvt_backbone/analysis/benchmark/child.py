"""What runs in a process of its own: a task, given as JSON."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine_files import write_file
from .measure import MARK, attempt, measure, measure_each, measure_gemm
from .trace import trace_step

TASKS: dict[str, Callable[..., dict[str, Any]]] = dict(
    measure=measure, measure_each=measure_each, gemm=measure_gemm, trace=trace_step, write_file=write_file
)


def main() -> None:
    """Do the task of the command line and print the answer."""
    task = json.loads(sys.argv[1])
    with suppress(OSError):
        Path('/proc/self/oom_score_adj').write_text('1000')  # the first to go, before anybody else on the machine
    if task['memory_limit']:
        resource.setrlimit(resource.RLIMIT_DATA, (task['memory_limit'],) * 2)
    print(f'\n{MARK}{json.dumps(attempt(TASKS[task["kind"]], task["arguments"]))}', flush=True)


if __name__ == '__main__':
    main()
