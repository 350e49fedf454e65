"""What every state store has to do. Numbers such as "case 12" are those of the reference's conformance suite."""

import pytest

from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.activity import ActivityContract
from fastapi_durable.store.contract.suite.attributes import AttributesContract
from fastapi_durable.store.contract.suite.checkpoints import CheckpointsContract
from fastapi_durable.store.contract.suite.claims import ClaimsContract
from fastapi_durable.store.contract.suite.events import EventsContract
from fastapi_durable.store.contract.suite.leases import LeasesContract
from fastapi_durable.store.contract.suite.prepared import PreparedContract
from fastapi_durable.store.contract.suite.queries import QueriesContract
from fastapi_durable.store.contract.suite.queues import QueuesContract
from fastapi_durable.store.contract.suite.races import RacesContract
from fastapi_durable.store.contract.suite.retention import RetentionContract
from fastapi_durable.store.contract.suite.runs import RunsContract
from fastapi_durable.store.contract.suite.scope import ScopeContract
from fastapi_durable.store.contract.suite.signals import SignalsContract
from fastapi_durable.store.contract.suite.transactions import TransactionsContract
from fastapi_durable.store.contract.suite.upkeep import UpkeepContract


class StateStoreContract(
    RunsContract,
    AttributesContract,
    QueriesContract,
    ActivityContract,
    RetentionContract,
    LeasesContract,
    ClaimsContract,
    QueuesContract,
    CheckpointsContract,
    PreparedContract,
    SignalsContract,
    EventsContract,
    UpkeepContract,
    TransactionsContract,
    ScopeContract,
    RacesContract,
):
    """The tests that a state store has to pass. Subclass it, and provide the fixture `store`: an empty store.

    A store that several processes share should also override `other_store`.
    """

    @pytest.fixture
    def other_store(self, store: StateStore) -> StateStore:
        """Another client on the data of `store`; the store itself if there can be no other."""
        return store
