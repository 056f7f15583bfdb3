"""Leases that are renewed while something runs."""

import threading
import time
from collections.abc import Callable

import pytest

from runtime_lib import MemoryStore, leases
from runtime_lib.leases import Renewal
from tests.stores import BrokenStore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed every 10 ms."""
    monkeypatch.setattr(leases, "_RENEWAL_SECONDS", 0.01)


@pytest.fixture
def renewal() -> Renewal:
    return Renewal()


def wait_until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def renewed(store: MemoryStore) -> bool:
    return store._leases["key"].until > time.time() + 30


def test_what_is_held_is_renewed_until_it_is_dropped(renewal: Renewal) -> None:
    store = MemoryStore()
    store.acquire("key", "owner", 1)
    renewal.hold("owner", store, "key")
    wait_until(lambda: renewed(store))
    renewal.drop("owner")
    thread = renewal._thread
    assert thread is not None
    wait_until(lambda: not thread.is_alive())
    assert renewal._thread is None


def test_who_holds_again_gets_another_thread(renewal: Renewal) -> None:
    store = MemoryStore()
    for _ in range(2):
        store.acquire("key", "owner", 1)
        renewal.hold("owner", store, "key")
        thread = renewal._thread
        wait_until(lambda: renewed(store))
        renewal.drop("owner")
        assert thread is not None
        thread.join(5)
        store.release("key", "owner")


def test_a_process_that_was_forked_gets_a_thread_of_its_own(renewal: Renewal) -> None:
    gone = threading.Thread(target=int)
    gone.start()
    gone.join()
    renewal._thread = gone  # as the child finds it
    store = MemoryStore()
    store.acquire("key", "owner", 1)
    renewal.hold("owner", store, "key")
    wait_until(lambda: renewed(store))
    renewal.drop("owner")


def test_a_renewal_that_fails_is_tried_again(renewal: Renewal, caplog: pytest.LogCaptureFixture) -> None:
    renewal.hold("owner", BrokenStore("renew"), "key")
    wait_until(lambda: caplog.text.count("the lease of key was not renewed") >= 2)
    renewal.drop("owner")


def test_a_lease_that_has_lapsed_is_given_up_and_logged(renewal: Renewal, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.acquire("key", "another", 60)
    renewal.hold("owner", store, "key")
    wait_until(lambda: "the lease of key has lapsed while it runs" in caplog.text)
    wait_until(lambda: renewal._held == {})
