"""What every state store has to do. Numbers such as "case 12" are those of the reference's conformance suite.

A test module gives two fixtures, `store` and `other_store` (another client on the same data; the store itself where
there is only one), and subclasses these classes.
"""

from tests.store.contract.activity import ActivityContract
from tests.store.contract.attributes import AttributesContract
from tests.store.contract.checkpoints import CheckpointsContract
from tests.store.contract.claims import ClaimsContract
from tests.store.contract.events import EventsContract
from tests.store.contract.leases import LeasesContract
from tests.store.contract.queries import QueriesContract
from tests.store.contract.races import RacesContract
from tests.store.contract.retention import RetentionContract
from tests.store.contract.runs import RunsContract
from tests.store.contract.scope import ScopeContract
from tests.store.contract.signals import SignalsContract
from tests.store.contract.transactions import TransactionsContract
from tests.store.contract.upkeep import UpkeepContract

__all__ = [
    "ActivityContract",
    "AttributesContract",
    "CheckpointsContract",
    "ClaimsContract",
    "EventsContract",
    "LeasesContract",
    "QueriesContract",
    "RacesContract",
    "RetentionContract",
    "RunsContract",
    "ScopeContract",
    "SignalsContract",
    "TransactionsContract",
    "UpkeepContract",
]
