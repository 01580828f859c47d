"""Several processes at once, for the tests of what they share."""
import multiprocessing
from pathlib import Path
from typing import Any, Callable

import torch.distributed as dist

# So that what a test patches is patched in the children too.
FORK = multiprocessing.get_context('fork')


def run_together(target: Callable, *args: Any, num_processes: int = 2) -> dict:
    """Run ``target(queue, i, *args)`` in several processes, collect what each
    puts into the queue."""
    queue = FORK.Queue()
    processes = [
        FORK.Process(target=target, args=(queue, i) + args, daemon=True)
        for i in range(num_processes)
    ]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    return results


def run_as_ranks(function: Callable, store: Path, *args: Any) -> list:
    """What ``function(rank, *args)`` returns on each of two ranks."""
    results = run_together(_run_as_rank, store, function, args)
    return [results[rank] for rank in sorted(results)]


def _run_as_rank(queue: Any, rank: int, store: Path, function: Callable,
                 args: tuple) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    queue.put((rank, function(rank, *args)))
    dist.destroy_process_group()
