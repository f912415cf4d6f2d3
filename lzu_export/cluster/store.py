"""Outcomes of done jobs in a folder, so that a run can go on where an earlier one ended."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from lzu_export.cluster.jobs import Job, Outcome
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.files import clear, read_json, replacing, write_text
from lzu_export.support.files.locking import holding

JSON_LIMIT = 256 * 1024**2
"""Largest outcome in bytes that is read; it holds the command's stdout."""


class Store:
    """Folder with KEY.json for each done job, and KEY/ with the files that it returned.

    Use it as a context: it holds a lock, so that two runs never write to one folder.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made and locked on entry."""
        self.folder = folder
        self._held = ExitStack()

    def __enter__(self) -> "Store":
        """Lock the folder.

        Raises:
            LzuError: another run holds it, or it cannot be written.
        """
        refusal = f"another run is using {self.folder}; wait for it, or choose another folder"
        self._held.enter_context(holding(self.folder / ".lock", str(self.folder), refusal))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the folder."""
        self._held.close()

    def get(self, job: Job) -> Outcome | None:
        """Return the outcome of a job that was done before, or None.

        Raises:
            LzuError: its file is damaged.
        """
        path = self._json(job.key)
        if not path.exists():
            return None
        remedy = "remove it to run the job again"
        data = read_json(path, limit=JSON_LIMIT, remedy=remedy)
        try:
            names = data.pop("files")
            files = {name: (self.folder / job.key / name).read_bytes() for name in names}
            return Outcome(**data | {"files": files, "name": job.name})
        except (KeyError, TypeError, AttributeError, OSError) as error:
            raise LzuError(f"{path} is damaged; {remedy}") from error

    def put(self, outcome: Outcome) -> None:
        """Keep the outcome of a done job: its files first, so that KEY.json stands for all.

        Raises:
            LzuError: the folder cannot be written, as on a full disk.
        """
        if outcome.status != "done":
            return
        with readable_os_errors(str(self.folder)):
            place = self.folder / outcome.key
            clear(place)
            for name, content in outcome.files.items():
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as new:
                    new.write_bytes(content)
            data = vars(outcome) | {"files": sorted(outcome.files)}
            write_text(self._json(outcome.key), json.dumps(data))

    def forget(self, job: Job) -> None:
        """Remove what is kept of a job, so that it runs again.

        Raises:
            LzuError: the folder cannot be written.
        """
        with readable_os_errors(str(self.folder)):
            self._json(job.key).unlink(missing_ok=True)
            clear(self.folder / job.key)

    def _json(self, key: str) -> Path:
        return self.folder / f"{key}.json"
