"""Prefetch: make the next items while the last one is used."""

from collections.abc import Generator, Iterable
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")

WAIT = 0.1  # seconds after which a full queue's reader looks whether anybody still wants items


def prefetch(items: Iterable[Item], most: int = 4) -> Generator[Item, None, None]:
    """The items, at most `most` of them made in a thread before they are asked for.

    What making them raises is raised where they are asked for, after those before. Whoever stops
    early stops the thread.
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
