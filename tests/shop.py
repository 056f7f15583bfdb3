"""The sample app in tests: imported without its hooks and transport staying behind for other tests."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from runtime_lib import hooks, transports


@contextmanager
def sample_app() -> Iterator[None]:
    """Import what is needed of the sample app inside the block."""
    before, after, transport = hooks.before[:], hooks.after[:], transports._process_transport
    try:
        yield
    finally:
        hooks.before[:], hooks.after[:] = before, after
        transports.set_transport(transport)
        for name in [name for name in sys.modules if name.partition(".")[0] == "sample_app"]:
            del sys.modules[name]
