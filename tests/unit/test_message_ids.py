"""The ids of messages, which other systems read."""

import uuid

from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope


def test_an_id_is_a_random_uuid_as_pythons_own() -> None:
    ids = {Envelope.new("shop.tasks.send", [], {}, priority=Priority.DEFAULT).id for _ in range(500)}
    assert len(ids) == 500
    for found in map(uuid.UUID, ids):
        assert (found.version, found.variant) == (4, uuid.RFC_4122)
        assert str(found) in ids
    # Every other bit is random: 0 in some and 1 in others.
    bits = [sum(uuid.UUID(one).int >> bit & 1 for one in ids) for bit in range(128)]
    assert [bit for bit, ones in enumerate(bits) if ones in {0, 500}] == [62, 63, 76, 77, 78, 79]
