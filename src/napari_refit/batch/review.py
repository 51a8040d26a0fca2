"""What a reviewer decided on the results of a batch, kept in ``review.csv`` beside them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_refit.batch.review_table import (
    COLUMNS,
    NO_TEXT,
    REVIEW_STATES,
    Entry,
    ReviewState,
    read_review,
    write_review,
)
from napari_refit.errors import ReadError, brief
from napari_refit.io.sidecar import file_checksum

if TYPE_CHECKING:
    from napari_refit.batch.record import Record

REVIEW = "review.csv"


class Review:
    """The review of a batch: a state and a note for each case, saved at once.

    A decision holds for the labels that were looked at: where they changed since, by another run or another program,
    the case is open again. The batch may run on meanwhile (`reload` asks for its new results), and rows that others
    write into ``review.csv`` are taken over before each save.

    Parameters
    ----------
    out : Path
        Folder of the results.
    records : sequence of Record, optional
        Those of the batch; read from the folder when left out.
    now : callable, optional
        The time, for tests.

    Attributes
    ----------
    records : list of Record
        What can be reviewed, in the order of the batch: cases with a result.

    Raises
    ------
    ReadError
        If the records or ``review.csv`` cannot be read; the message names the line. The file stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> from napari_refit.batch.record import Record
    >>> out = Path(tempfile.mkdtemp())
    >>> _ = (out / "a.png").write_bytes(b"labels")
    >>> review = Review(out, [Record("a", "/scans/a.png", "a.png", "done"), Record("b", "b", "b.png", "failed")])
    >>> review.next_open(), review.counts
    ('a', {'open': 1, 'accepted': 0, 'rejected': 0, 'fixed': 0})
    >>> review.set("a", "accepted", note="=good")
    >>> Review(out, review.records).state("a"), Review(out, review.records).note("a")
    ('accepted', '=good')
    >>> _ = (out / "a.png").write_bytes(b"others")
    >>> review.state("a")
    'open'
    """

    def __init__(
        self,
        out: Path,
        records: Sequence[Record] | None = None,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.out = Path(out)
        self.path = self.out / REVIEW
        self._now = now or (lambda: datetime.now(UTC))
        self._fixed_records = records
        self._checksums: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self.records: list[Record] = []
        self._by_name: dict[str, Record] = {}
        self._entries: dict[str, Entry] = {}
        self._columns: tuple[str, ...] = COLUMNS
        self.reload()

    def reload(self) -> None:
        """Read the batch's records and ``review.csv`` again.

        Raises
        ------
        ReadError
            As the constructor; what was read before stays.
        """
        if self._fixed_records is None:
            from napari_refit.batch.record import read_records

            records = read_records(self.out)
        else:
            records = list(self._fixed_records)
        # A case that failed when it was made again may still have its earlier labels; nobody vouches for them.
        kept = {record.name: record for record in records if record.state in ("done", "skipped")}
        entries, columns = read_review(self.path, kept)
        self._by_name, self.records = kept, list(kept.values())
        self._entries, self._columns = entries, columns

    def state(self, name: str) -> ReviewState:
        """What was decided on a case; open where its labels are not those that were looked at.

        Raises
        ------
        ValueError
            If there is no such case.
        """
        record = self._record(name)
        entry = self._entries.get(name)
        if entry is None or entry.state == "open":
            return "open"
        try:
            is_same = not entry.labels or self._checksum(record) == entry.labels
        except ReadError:
            is_same = False
        return entry.state if is_same else "open"

    def changed(self, name: str) -> bool:
        """Whether a case was decided on, but its labels have changed since."""
        entry = self._entries.get(name)
        return entry is not None and entry.state != "open" and self.state(name) == "open"

    def note(self, name: str) -> str:
        """What was noted on a case; it stays where its labels change.

        Raises
        ------
        ValueError
            If there is no such case.
        """
        self._record(name)
        return self._entries[name].note if name in self._entries else ""

    def labels_path(self, name: str) -> Path:
        """Where the labels of a case are.

        Raises
        ------
        ValueError
            If there is no such case.
        """
        return self.out / self._record(name).output

    def checksum(self, name: str) -> str:
        """Of the labels of a case as they are now, for ``seen`` of `set`.

        Raises
        ------
        ValueError
            If there is no such case.
        ReadError
            If the labels cannot be read.
        """
        return self._checksum(self._record(name))

    def set(self, name: str, state: ReviewState, note: str = "", *, seen: str | None = None) -> None:
        """Decide on a case as its labels are now, and save.

        Parameters
        ----------
        name : str
        state : {"open", "accepted", "rejected", "fixed"}
            fixed: labels that were corrected; save them first.
        note : str
            Replaces the note that is there.
        seen : str, optional
            `checksum` of the labels that were looked at: nothing is decided on others, which a batch that still runs
            may have put in their place.

        Raises
        ------
        ValueError
            For an unknown case or state, a note that is no text, or labels that are not those that were seen.
        ReadError
            If the labels, or a ``review.csv`` that somebody else changed, cannot be read; nothing is decided then.
        WriteError
            If it cannot be saved; nothing is decided then.
        """
        record = self._record(name)
        if state not in REVIEW_STATES:
            raise ValueError(f"state must be one of {', '.join(REVIEW_STATES)}, got {state!r}")
        if NO_TEXT.search(note):
            raise ValueError(f"the note on {name} is no valid text: {note!r}")
        labels = "" if state == "open" else self._checksum(record)
        if seen is not None and labels not in ("", seen):
            raise ValueError(f"the labels of {name} are not those that were looked at; look at them again")
        # Another reviewer, or a spreadsheet, may have written meanwhile.
        entries, columns = read_review(self.path, self._by_name)
        more = entries[name].more if name in entries else {}
        time = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entries[name] = Entry(name, state, note, time, labels, more)
        order = {each.name: place for place, each in enumerate(self.records)}
        ordered = sorted(entries.values(), key=lambda each: order.get(each.case, len(order)))
        write_review(self.path, ordered, columns)
        self._entries, self._columns = entries, columns

    def next_open(self, name: str | None = None) -> str | None:
        """The next case to look at after ``name`` (from the first when left out); None if none is open.

        After the last case the search goes on at the first; ``name`` itself comes last.

        Raises
        ------
        ValueError
            If there is no such case.
        """
        names = [record.name for record in self.records]
        start = 0 if name is None else names.index(self._record(name).name) + 1
        return next((each for each in (*names[start:], *names[:start]) if self.state(each) == "open"), None)

    @property
    def counts(self) -> dict[ReviewState, int]:
        """How many cases there are of each state."""
        found: dict[ReviewState, int] = dict.fromkeys(REVIEW_STATES, 0)
        for record in self.records:
            found[self.state(record.name)] += 1
        return found

    def _record(self, name: str) -> Record:
        if name in self._by_name:
            return self._by_name[name]
        close = difflib.get_close_matches(name, list(self._by_name), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no case {name!r} with a result in {self.out}{hint}")

    def _checksum(self, record: Record) -> str:
        """Of the labels as they are; computed anew only where the file is another than before."""
        path = self.out / record.output
        try:
            found = path.stat()
        except OSError as error:
            raise ReadError(path, f"cannot be read: {brief(error.strerror or str(error))}") from None
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._checksums.get(path)
        if known is None or known[0] != mark:
            known = self._checksums[path] = (mark, file_checksum(path))
        return known[1]
