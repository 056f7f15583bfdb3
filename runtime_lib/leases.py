"""Leases of a store that are held while something runs: renewed by a thread, so that they lapse soon after a crash."""

import time
from threading import Lock, Thread
from typing import TYPE_CHECKING

from runtime_lib.errors import StoreError
from runtime_lib.log import logger

if TYPE_CHECKING:
    from runtime_lib.store import Store

__all__ = ["LEASE_SECONDS", "Renewal", "renewal"]

LEASE_SECONDS = 60.0
_RENEWAL_SECONDS = 20.0
"""Two renewals may fail before the lease lapses."""


class Renewal:
    """Renews the leases of what runs in this process, in one thread, which ends when nothing runs."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Store, str]] = {}
        self._lock = Lock()
        self._thread: Thread | None = None

    def hold(self, owner: str, store: "Store", key: str) -> None:
        """Renew the lease ``key`` from now on."""
        with self._lock:
            self._held[owner] = store, key
            if self._thread is None or not self._thread.is_alive():  # a process that was forked has no threads
                self._thread = Thread(target=self._renew, name="task-leases", daemon=True)
                self._thread.start()

    def drop(self, owner: str) -> None:
        """Renew it no more."""
        with self._lock:
            self._held.pop(owner, None)

    def _renew(self) -> None:
        while True:
            time.sleep(_RENEWAL_SECONDS)
            with self._lock:
                held = list(self._held.items())
                if not held:
                    self._thread = None
                    return
            for owner, (store, key) in held:
                try:
                    if not store.renew(key, owner, LEASE_SECONDS) and owner in self._held:
                        logger.warning("the lease of %s has lapsed while it runs", key)
                        self.drop(owner)
                except StoreError as error:
                    logger.warning("the lease of %s was not renewed: %s", key, error)


renewal = Renewal()
