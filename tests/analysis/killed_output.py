"""Run as a script: `BUNDLE TO N FOLDER STRIDE`. Imports once, then forks. Not a test module.

A process that writes images is killed with SIGKILL at one file operation after the other, each time from where the one
before left it; what is there in the end is compared with an undisturbed output. Prints both digests and the points.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from privimage.analysis.synthesise import Bundle

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def digests(folder: Path) -> dict[str, str]:
    """Of every file below a folder, hidden ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def written(bundle: Bundle, to: str, n: int, within: Path, *, end_at: int | None) -> int:
    """How a forked process ended that writes there: 0, or minus SIGKILL where it had so many operations within."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event in TOUCHES and str(args[0]).startswith(str(within)):
            count += 1
            if count == end_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        bundle.write(within / to if not to.endswith("/") else f"{within / to}/", n=n, seed=3)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def main() -> None:
    """See above."""
    bundle, to, n, folder, stride = Bundle(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]
    bundle.sample(n=2)  # what is loaded once
    whole = folder / "whole"
    assert written(bundle, to, n, whole, end_at=None) == 0
    point, ends, left = 1, [0], {}
    while True:
        killed = folder / f"killed-{point}"
        ends = [written(bundle, to, n, killed, end_at=point)]
        if ends == [0]:
            break
        done = False
        while ends[-1] != 0 and len(ends) < 4:  # killed again, further on
            done = not list(killed.glob(".*/begun.json")) and digests(whole).items() <= digests(killed).items()
            ends.append(written(bundle, to, n, killed, end_at=point + 7 if len(ends) < 3 else None))
        left[point] = {"ends": ends, "done": done, "same": digests(killed) == digests(whole)}
        point += int(stride)
    print(json.dumps({"whole": digests(whole), "left": left}))


if __name__ == "__main__":
    main()
