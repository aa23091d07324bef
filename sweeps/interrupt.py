"""Signals that ask a run to stop: Ctrl-C, SIGTERM (Slurm and spot machines send it), SIGHUP (a closed terminal).

The first one is raised in the main thread as KeyboardInterrupt, so that locks are released and workers ended on the
way out; a second one ends the process at once, which loses nothing either. Nor does the end after GRACE seconds: where
a whole process group was signalled, Ray's own processes are gone and calls to them would wait for a minute.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 20.0  # Slurm and Kubernetes kill after 30
STOPPED = "stopped; run the same command again"  # where nothing is known of how far it came
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


STOPPING = threading.Event()  # set when the first signal arrives, whoever answers it


class Stopped(KeyboardInterrupt):
    """A run was asked to stop; the message says how far it came and how it goes on."""


class Interrupts:
    """Answers the signals in this process, and remembers which one came first."""

    def __init__(self) -> None:
        self.signum: int | None = None

    @property
    def code(self) -> int:
        """The exit code of a process that was asked to stop: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + (self.signum or signal.SIGINT)

    def install(self) -> None:
        """Answer the signals from now on (in the main thread). One that the parent ignores, as nohup does, stays so."""
        self._watch()
        for signum in SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._answer)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        raise KeyboardInterrupt

    def _watch(self) -> None:
        """End the process some time after the first signal, also one that never comes to `_answer`.

        While Ray starts, it answers SIGTERM in its own way, and the main thread may be in its C++ for long. The
        interpreter writes every signal to this socket at once, whoever answers it.
        """
        self._told, told_by = socket.socketpair()
        told_by.setblocking(False)
        signal.set_wakeup_fd(told_by.detach(), warn_on_full_buffer=False)
        threading.Thread(target=self._end_after_grace, daemon=True).start()

    def _end_after_grace(self) -> None:
        first = 0
        while first not in SIGNALS:
            (first,) = self._told.recv(1)
        STOPPING.set()
        time.sleep(GRACE)
        try:
            os.write(2, f"privimage: {STOPPED}\n".encode())
        finally:  # also where the terminal is gone, as after SIGHUP
            os._exit(128 + first)


def ask_to_stop() -> None:
    """Ask this process to stop as a signal does, from any thread: by the first that is answered here.

    A shell that puts a command into the background has it ignore Ctrl-C. Where none is answered, the process ends.
    """
    answered = [signum for signum in SIGNALS if callable(signal.getsignal(signum))]
    if not answered:
        os._exit(1)
    os.kill(os.getpid(), answered[0])


@contextmanager
def heard() -> Iterator[None]:
    """Ctrl-C is told to whoever watches STOPPING while this lasts, in a program that answers it as Python does.

    It is raised as KeyboardInterrupt as before. Signals come to the main thread alone: in another nothing changes, and
    a program that answers them in its own way (the command line does) keeps doing so.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def answer(signum: int, frame: FrameType | None) -> None:
        STOPPING.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        STOPPING.clear()


def words(error: BaseException | None) -> str:
    """What the interrupt behind `error` said: the command line's framework turns it into an exit."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return str(error or "") or STOPPED
