"""Cases spread over Dask workers: a local cluster of processes, or a running scheduler's."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_refit.batch.at_worker import deaf_plugin, executing, task
from napari_refit.batch.cases import Case
from napari_refit.batch.one import Outcome, Work
from napari_refit.batch.record import Record, shown_path
from napari_refit.batch.settings import BatchParams, amounts_of
from napari_refit.errors import brief, one_line

if TYPE_CHECKING:
    from distributed import Client, Future

    from napari_refit.batch.engine import Stop

EXTRA = 'pip install "napari-refit[distributed]"'
CONNECT_SECONDS = 5
_POLL_SECONDS = 0.2
_THREADS = (
    "REFIT_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def is_installed() -> bool:
    """Whether Dask's scheduler is installed."""
    from importlib.util import find_spec

    return find_spec("distributed") is not None


def fair_threads(processes: int) -> dict[str, str]:
    """Environment in which so many processes share the cores that this one may use, none of them twice.

    Examples
    --------
    >>> from napari_refit.bands import n_threads
    >>> int(fair_threads(1)["OMP_NUM_THREADS"]) == n_threads(), fair_threads(10_000)["REFIT_THREADS"]
    (True, '1')
    """
    from napari_refit.bands import n_threads

    return dict.fromkeys(_THREADS, str(max(1, n_threads() // processes)))


class DaskEngine:
    """Cases as Dask tasks, one each; a case whose worker is lost is given to another.

    Parameters
    ----------
    params : BatchParams
    work : Work

    Raises
    ------
    ValueError
        If the model is not named by a path, which is all that other processes can be told.
    """

    def __init__(self, params: BatchParams, work: Work) -> None:
        model = work.recipe.model
        if model is not None and not isinstance(model, str | Path):
            raise ValueError(f"several workers need the path of a checkpoint, got {type(model).__name__}")
        self.params, self.work = params, work
        self.resources = amounts_of(params.resources)
        if not self.resources and str(work.recipe.device or "").startswith("cuda"):
            self.resources = {"GPU": 1.0}

    def outcomes(
        self, cases: Sequence[Case], stop: Stop, tell: Callable[[str], None]
    ) -> Iterator[tuple[Case, Outcome]]:
        """What became of each case that was begun, as it comes."""
        if not cases:
            return
        with _quiet(), self._client(len(cases)) as client:
            tell("waiting for workers")
            yield from _Spread(client, self._for_workers(), self.resources, self.params.retries).run(
                self._placed(cases), stop
            )

    @contextmanager
    def _client(self, n_cases: int) -> Iterator[Client]:
        if self.params.scheduler:
            client = connect(self.params.scheduler)
            try:
                yield client
            finally:
                with suppress(Exception):
                    client.close(timeout=2)
            return
        import dask
        from distributed import Client, LocalCluster

        n_workers = min(self.params.workers, n_cases)
        share = fair_threads(n_workers)
        environment = {**dask.config.get("distributed.nanny.pre-spawn-environ"), **share}
        # Dask's choice has every large array fetched from the system anew: half of a worker's time.
        environment.pop("MALLOC_TRIM_THRESHOLD_", None)
        with ExitStack() as stack:
            # Dask lets what is set here already stand, in its workers too.
            stack.enter_context(_environment(share))
            with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=n_workers,
                        threads_per_worker=1,
                        processes=True,
                        # What a case takes is known before it begins; a worker is never killed for it.
                        memory_limit=0,
                        host="127.0.0.1",
                        dashboard_address=None,
                        silence_logs=logging.CRITICAL,
                        resources=self.resources or None,
                    )
                )
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.register_plugin(deaf_plugin(), name="refit-signals")
            yield client

    def _for_workers(self) -> Work:
        work = self.work
        if self.params.scheduler:
            recipe = work.recipe
            if isinstance(recipe.model, str | Path) and Path(recipe.model).exists():
                recipe = replace(recipe, model=str(Path(recipe.model).absolute()))
            work = replace(work, recipe=recipe, out=work.out.elsewhere())
        return work

    def _placed(self, cases: Sequence[Case]) -> list[tuple[Case, Case]]:
        """Each case as it is known here, and as other machines must know it."""
        if not self.params.scheduler:
            return [(case, case) for case in cases]
        return [(case, _absolute(case)) for case in cases]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that processes are started with within.

    Whenever Dask starts a worker it sets more of them in this process; in the end all are what they were.
    """
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _absolute(case: Case) -> Case:
    return replace(
        case,
        image=case.image.absolute(),
        output=case.output.absolute(),
        truth=None if case.truth is None else case.truth.absolute(),
        response=None if case.response is None else case.response.absolute(),
    )


def connect(address: str) -> Client:
    """A client of a running scheduler.

    Parameters
    ----------
    address : str
        Such as ``tcp://host:8786``, or the path of a scheduler file.

    Raises
    ------
    ConnectionError
        If there is none, after at most a few seconds.
    """
    from distributed import Client

    where = _address_in(Path(address)) if address.lower().endswith(".json") else address
    try:
        # Asked first: a client that finds nobody holds up the end of the program.
        asyncio.run(_greet(where))
        return Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # OSError, ValueError, whatever a protocol raises
        raise ConnectionError(
            f"--scheduler {address}: no Dask scheduler answers there within {CONNECT_SECONDS} s "
            f"({brief(error)}); start it, or leave the option out"
        ) from None


async def _greet(address: str) -> None:
    from distributed.comm import connect as reach

    comm = await reach(address, timeout=CONNECT_SECONDS)
    await comm.close()


def _address_in(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionError(f"--scheduler {path}: is no scheduler file ({brief(error)})") from None


@dataclass
class _Given:
    """A case that a worker was given."""

    case: Case
    sent: Case
    tries: int = 0


class _Spread:
    """Cases given to workers, and what comes back."""

    def __init__(self, client: Client, work: Work, resources: dict[str, float], retries: int) -> None:
        self.client, self.work, self.resources, self.retries = client, work, resources, retries
        self.given: dict[Future, _Given] = {}
        self.done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.ending = False

    def run(self, cases: Sequence[tuple[Case, Case]], stop: Stop) -> Iterator[tuple[Case, Outcome]]:
        for case, sent in cases:
            self._give(_Given(case, sent))
        while self.given:
            if stop.cancelled():
                yield from self._give_up()
                return
            if stop.finishing() and not self.ending:
                self._take_back()
            try:
                future = self.done.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self.client.status not in ("running", "connecting"):
                    yield from self._lost()
                    return
                continue
            item = self.given.pop(future, None)
            if item is not None:
                yield from self._came_back(future, item)

    def _give(self, item: _Given) -> None:
        future = self.client.submit(
            task, item.sent, self.work, pure=False, resources=self.resources or None, key=_key(item)
        )
        self.given[future] = item
        future.add_done_callback(self.done.put)

    def _came_back(self, future: Future, item: _Given) -> Iterator[tuple[Case, Outcome]]:
        from distributed import KilledWorker

        if future.status == "finished":
            yield item.case, future.result()
            return
        if future.status == "cancelled":
            if not self.ending:
                yield from self._lost(item)
            return
        error = future.exception()
        if isinstance(error, KilledWorker):
            item.tries += 1
            if item.tries <= self.retries and not self.ending:
                self._give(item)
                return
            text = f"its worker was lost {item.tries} times, perhaps for want of memory; see --memory"
            yield item.case, Outcome(self._failed(item.case, f"{item.case.image}: {text}"))
            return
        # A case's own faults are in its record: this one is the worker's.
        text = f"a worker cannot do the work: {one_line(error)}"
        yield item.case, Outcome(self._failed(item.case, text), text)

    def _take_back(self) -> None:
        """Keep what workers are at, and take back what they have not begun."""
        self.ending = True
        begun = self._begun()
        waiting = [future for future in self.given if future.key not in begun]
        for future in waiting:
            del self.given[future]
        self.client.cancel(waiting, force=True)

    def _begun(self) -> set[str]:
        with suppress(Exception):
            found = self.client.run(executing, on_error="ignore")
            return {str(key) for keys in found.values() if isinstance(keys, list) for key in keys}
        return set()

    def _give_up(self) -> Iterator[tuple[Case, Outcome]]:
        begun = self._begun()
        for future, item in self.given.items():
            if future.key in begun:
                yield item.case, Outcome(replace(self._failed(item.case, ""), state="cancelled"))
        self.client.cancel(list(self.given), force=True)

    def _lost(self, item: _Given | None = None) -> Iterator[tuple[Case, Outcome]]:
        """The scheduler went away: what its workers had begun is unknown, and seen to by the next run."""
        lost = item or next(iter(self.given.values()))
        self.given.clear()
        record = replace(self._failed(lost.case, ""), state="cancelled")
        yield (
            lost.case,
            Outcome(record, "the Dask scheduler is lost; the same command goes on where this run stood"),
        )

    def _failed(self, case: Case, error: str) -> Record:
        root = self.work.out.path
        return Record(case.name, shown_path(case.image, root), shown_path(case.output, root), "failed", error)


def _key(item: _Given) -> str:
    import secrets

    return f"refit-{secrets.token_hex(8)}-{item.tries}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log off the terminal: what matters is said in records."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
