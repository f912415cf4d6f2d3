"""Prefetch: make the next items while the current one is used."""

from collections.abc import Generator, Iterable
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")

WAIT = 0.1  # seconds after which a producer at a full queue checks whether it shall stop


def prefetch(items: Iterable[Item], most: int = 4) -> Generator[Item, None, None]:
    """Yield items, of which a thread makes at most `most` before they are asked for.

    An exception in the thread is raised here, after the items before it. The thread ends when the
    caller stops early.
    """
    queue: Queue[tuple[Item | None, BaseException | None]] = Queue(most)
    stopped = Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return queue.put((item, error), timeout=WAIT)
            except Full:
                continue

    def make() -> None:
        source = iter(items)
        try:
            for item in source:
                put(item, None)
                if stopped.is_set():
                    break
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)
        finally:
            if hasattr(source, "close"):
                source.close()  # in the thread that ran it

    thread = Thread(target=make, daemon=True, name="reading ahead")
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item, where there is no error
    finally:
        stopped.set()
        thread.join()
