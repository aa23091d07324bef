"""Work in processes of its own, started as plain commands.

Not with multiprocessing: `fork` may hang in a process that has threads (torch, a Ray worker), and `spawn` runs the
caller's main script again. Not with joblib: its workers outlive a caller that was killed, and go on writing to what the
next one goes on with; here they end with the pipe.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from privimage.errors import InputError, PrivImageError

Task = TypeVar("Task")
Done = TypeVar("Done")


def cores() -> int:
    """How many this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def spread(work: Callable[[Task], Done], tasks: Iterable[Task], *, processes: int) -> Generator[Done, None, None]:
    """What `work` makes of each task, as each is done; with one process here, in order.

    Both travel by pickle, over pipes to processes that this one started. No more tasks are taken than two a process.
    Raises the InputError or OSError of a task, and PrivImageError where a process ends, or fails in another way.
    """
    if processes <= 1:
        yield from map(work, tasks)
        return
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    children = [_child() for _ in range(processes)]
    for child in children:
        free.put(child)
    with ThreadPoolExecutor(processes) as threads:
        pending: set[Future[Done]] = set()
        try:
            for task in tasks:
                pending.add(threads.submit(_ask, free, work, task))
                if len(pending) >= 2 * processes:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            yield from (one.result() for one in pending)
        finally:
            for one in pending:
                one.cancel()
            for child in children:
                child.kill()
                child.wait()


def _child() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "from privimage.processes import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,  # Ctrl-C is for the one that waits for it
    )


def _ask(free: SimpleQueue[subprocess.Popen[bytes]], work: Callable[[Task], Done], task: Task) -> Done:
    child = free.get()
    try:
        if child.stdin is None or child.stdout is None:
            raise EOFError
        pickle.dump((work, task), child.stdin)
        child.stdin.flush()
        found: Any = pickle.load(child.stdout)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        raise PrivImageError("a process that worked for this one ended; run the same command again") from None
    finally:
        free.put(child)
    if isinstance(found, Exception):
        raise found
    done: Done = found[0]
    return done


def main() -> None:
    """None: answers tasks from stdin until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print into the answers
    while True:
        try:
            work, task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: Any
        try:
            answer = (work(task),)
        except (InputError, OSError) as error:
            answer = error
        except Exception as error:  # its text may quote what it read
            answer = PrivImageError(f"a process that worked for this one failed: {type(error).__name__}")
        pickle.dump(answer, out)
        out.flush()
