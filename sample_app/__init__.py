"""The back office of a shop: what happens after an order, as tasks.

An order becomes a confirmation, an invoice and a receipt; a refund becomes a note to the customer. Every night all of
them become a report of the sales. `stack` says on what each of these runs.

Every function imports this package before anything else, so what concerns all tasks is set up here.
"""

import os

from sample_app import monitoring

__all__ = ["monitoring"]

if "SHOP_FAULTS" in os.environ:
    from sample_app import faults

    __all__ += ["faults"]
