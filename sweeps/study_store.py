"""Study store: where Optuna's studies of a run are shown to others: a journal in its folder, or a PostgreSQL server.

It holds copies. What the sweep goes by are its records and the file of begun configurations: a store that is lost, or
that fails in the middle, takes nothing with it, and the next start puts into it what it lacks.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from privimage.errors import InputError
from privimage.paths import RunFolder
from privimage.schema import digest
from privimage.sweeps.interrupt import STOPPING
from privimage.sweeps.study_address import JOURNAL
from privimage.sweeps.sweep import Sweep

DRIVER = "postgresql+psycopg"
SECONDS = 5  # to connect, and for a server that stops answering
FAILS = (OptunaError, SQLAlchemyError, OSError, ValueError, KeyError)  # the last two: a damaged journal
OWNER = "run"  # user attribute of a study: which run it shows


class StudyStore:
    """The studies of one run in a storage of Optuna's; after its first failure it keeps still until the next start."""

    def __init__(self, storage: BaseStorage, *, named: str, owner: str) -> None:
        self._storage, self._named, self._owner = storage, named, owner
        self._lost = False

    @property
    def storage(self) -> BaseStorage:
        """Optuna's."""
        return self._storage

    def study(self, name: str, *, objectives: dict[str, str], said: str) -> Study:
        """The study of that name, made if it is not there, with its metrics' names and what has to be stated of it."""
        directions = [StudyDirection.MINIMIZE if d == "min" else StudyDirection.MAXIMIZE for d in objectives.values()]
        study = optuna.create_study(storage=self._storage, study_name=name, directions=directions, load_if_exists=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(objectives))
        study.set_user_attr(OWNER, self._owner)
        study.set_user_attr("to state", said)
        return study

    def delete(self, study: Study) -> None:
        """Take a study out."""
        self._storage.delete_study(study._study_id)

    def check(self, sweep: Sweep) -> None:
        """Raise InputError if a study under the sweep's name shows another run."""
        for found in self._storage.get_all_studies():
            mine = self._storage.get_study_user_attrs(found._study_id).get(OWNER) == self._owner
            if found.study_name.startswith(f"{sweep.name}: ") and not mine:
                raise InputError(
                    f"studies: {self._named} holds '{found.study_name}' of another run; choose another name for the "
                    "sweep, or delete that study (a run makes its studies anew from its records)"
                )

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Whether to write now. A failure while this lasts is said once, and the sweep goes on without."""
        try:
            yield not self._lost
        except FAILS as error:
            self._lost = True
            if STOPPING.is_set():  # a signal may break off a write; what is said then is that the run was stopped
                return
            said = f"{self._named}: {_first_line(error)}"
            print(f"privimage: studies: no longer shown, the next start makes up for it: {said}", file=sys.stderr)


def open_studies(sweep: Sweep, folder: RunFolder) -> StudyStore | None:
    """The store of this run's studies, that answers; None if the file names none.

    Raises InputError within seconds if a server cannot be reached or refuses, a package is missing, or its studies
    under the sweep's name are those of another run.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    owner = digest(str(folder.path.resolve()))[:16]
    if sweep.studies is None:
        return None
    if sweep.studies == JOURNAL:
        return StudyStore(_journal(folder.journal), named=str(folder.journal), owner=owner)
    store = StudyStore(_server(sweep.studies), named=sweep.studies, owner=owner)
    try:
        store.check(sweep)
    except FAILS as error:
        raise _unusable(sweep.studies, error) from None
    return store


def _journal(path: Path) -> BaseStorage:
    """The journal; begun anew where it was damaged, as by a kill in the middle of a line: it holds copies."""
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError):
        path.unlink()
        return JournalStorage(JournalFileBackend(str(path)))


def _server(address: str) -> BaseStorage:
    if find_spec("psycopg") is None:
        raise InputError(f"studies: got '{address}', and psycopg is not installed; pip install 'privimage[postgres]'")
    milliseconds = 1000 * SECONDS
    patience: dict[str, Any] = {
        "connect_timeout": SECONDS,
        "tcp_user_timeout": milliseconds,
        "options": f"-c statement_timeout={2 * milliseconds} -c lock_timeout={milliseconds}",
    }
    try:
        url = make_url(address).set(drivername=DRIVER)
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs={"connect_args": patience})
    except (*FAILS, ImportError) as error:
        raise _unusable(address, error) from None


def _unusable(address: str, error: Exception) -> InputError:
    return InputError(
        f"studies: cannot use {address}: {_first_line(error)}; nothing was charged; start the server, set PGPASSWORD "
        "if it asks for one, or leave studies out"
    )


def _first_line(error: BaseException) -> str:
    """What was said first behind an error, without SQL: Optuna's own storage wraps the driver's."""
    while not isinstance(error, SQLAlchemyError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip()
    return " ".join(said.splitlines()[0].split())[:200] if said else type(error).__name__
