"""Threads of a CPU that each compute something of their own.

Threads that share one small matrix product mostly wait for each other, and far longer where other
programs want the cores too. So on a CPU whole passes are computed side by side where there are
several.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def lanes(count: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads, each with an equal part of torch's; what hasn't begun at the end never does.

    torch's number of threads is the calling thread's again when all of them have ended.
    """
    threads = torch.get_num_threads()
    each = max(1, threads // count)
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(each,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
