"""The worker's side of a benchmark: prepare once, then time calls when asked, over standard input.

Runs inside the environment of each contestant; needs torch and nothing of mlpot.
"""

import json
import sys
import time
from collections.abc import Callable


def serve(call: Callable[[], object], facts: dict[str, object]) -> None:
    """Answer each line ``N`` with the seconds of N calls, as a JSON list; start with ``facts``."""
    for _ in range(10):
        call()
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)
