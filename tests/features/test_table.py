"""Every feature against every other: a cell of the table is a run that has both.

What holds in every cell: each step is executed as often as the two features say, and no more; every run ends as they
say; nothing of an ended run is left behind; and a place that it took is free for the next.
"""

import os
from itertools import combinations

import pytest

from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.features.acts import PAIRS
from tests.features.catalogue import ACTS, CANNOT_MEET, FEATURES, START, Act, Call, Door, Feature, Property
from tests.features.world import World
from tests.support.engine_rig import until
from tests.support.stores import EVERY_STORE


class Cell:
    """Two features, and what is to be seen where they meet."""

    def __init__(self, *features: Feature) -> None:
        self.features = features
        self.properties = [each for each in features if isinstance(each, Property)]
        self.doors = [each for each in features if isinstance(each, Door)]
        self.calls = [each for each in features if isinstance(each, Call)]
        self.acts = [each for each in features if isinstance(each, Act)]

    def __str__(self) -> str:
        return ", ".join(each.name for each in self.features)

    @property
    def door(self) -> Door:
        return self.doors[0] if self.doors else START

    @property
    def act(self) -> Act | None:
        return self.acts[0] if self.acts else None

    @property
    def has(self) -> set[str]:
        return {each.name for each in self.features}

    @property
    def has_children(self) -> bool:
        """`flow` has children: a property is theirs."""
        return any(call.has_children for call in self.calls)

    @property
    def roots(self) -> int:
        """How many runs of `flow` begin: as many as it takes to see that one waits for the other."""
        return 2 if "singleton" in self.has and "all" not in self.has else 1

    @property
    def lives(self) -> int:
        """How many runs one `flow` becomes."""
        names = [call.name for call in self.calls]
        chained = "continue_as_new" in names
        inside_child = chained and any(call.has_children for call in self.calls[: names.index("continue_as_new")])
        return 2 if chained and not inside_child else 1

    def expected(self) -> dict[str, int]:
        """How often each step is executed."""
        times, own = 1, dict[str, int]()
        for number, call in enumerate(self.calls):
            if call.own:
                # A run that goes on as a new one does again what stands around the call.
                inner = [each.name for each in self.calls[number + 1 :]]
                own[call.own] = times * (2 if "continue_as_new" in inner else 1)
            times *= call.times
        full = {"begin": self.lives, "before": times, "after": times, "end": 1, **own}
        done = {what: count * self.roots for what, count in full.items()}
        match self.act:
            case Act(name="retry"):
                done["explode"] = self.roots + 1
            case Act(name="fork"):
                done["end"] += 1
            case Act(stops=True) as act:
                stopped = self.standing()
                # The time of a run is up also while it waits for its turn.
                others = 0 if act.name == "timeout" else self.roots - 1
                done = {what: full[what] * others + stopped.get(what, 0) for what in full}
                if act.name == "dead letter" and self.has_children:
                    # Children of a dead run go on: an operator who retries it finds them.
                    done["after"] = done["before"]
        return {what: count for what, count in done.items() if count}

    def standing(self) -> dict[str, int]:
        """How often each step was executed by the one run that stands."""
        done, times = {"begin": 1}, 1
        for call in self.calls:
            if call.own:
                done[call.own] = times
            if call.waits_first:
                return done
            times *= 2 if call.name == "all" else 1
        return {**done, "before": times}


async def meet(store: StateStore, cell: Cell) -> None:
    world = World(store)
    for property_ in cell.properties:
        property_.prepare(world, cell.has_children)
    for door, name in zip(cell.doors, ("flow", "other"), strict=False):
        door.prepare(world, name)
    for act in cell.acts:
        act.prepare(world)
    for call in reversed(cell.calls):
        world.body = call.wrap(world, world.body)
    world.declare()
    async with world:
        for number in range(cell.roots):
            await cell.door.begin(world, number)
        for door in cell.doors[1:]:
            await door.begin(world, 0)

        async def begun() -> bool:
            return len(await world.runs()) == cell.roots

        await until(begun)
        await world.stands()
        if "singleton" in cell.has:
            assert world.done["before"] <= 1
        if len(cell.acts) == 2:
            (run,) = await world.standing()
            await PAIRS[cell.acts[0].name, cell.acts[1].name](world, run)
            return
        if cell.act is None:
            await world.finish()
        else:
            await _do(world, cell.act)
        await look(world, cell)


async def _do(world: World, act: Act) -> None:
    if act.ended:
        await world.finish()
    runs = await world.runs()
    failed = [each for each in runs if each.status is RunStatus.FAILED]
    run = (failed or (runs[-1:] if act.ended else await world.standing()))[0]
    await act.act(world, run)
    if act.outcome is not None:
        await world.finish()


async def look(world: World, cell: Cell) -> None:
    assert dict(world.done) == cell.expected()
    runs = await world.runs()
    assert [run.namespace for run in await world.runs(None)] == [world.namespace] * len(await world.runs(None))
    if cell.act is None or cell.act.outcome is not None:
        outcomes = [(cell.act.outcome if cell.act else None) or RunStatus.COMPLETED]
        outcomes += [outcomes[0] if "timeout" in cell.has else RunStatus.COMPLETED] * (len(runs) - 1)
        assert sorted(run.status for run in runs) == sorted(outcomes)
        having = await world.runs("child") + await world.runs("member") if cell.has_children else runs
        assert having
        for each in cell.properties:
            assert all(each.check(world, run) for run in having)
    if "queue" in cell.has:
        assert world.at_once == 1
    engines = {run.id for run in await world.live()} | {
        run.id for run in await world.runs(None) if run.workflow.startswith("__")
    }
    assert [each for each in await world.store.list_signal_waiters() if each.run_id not in engines] == []


def cells() -> list[Cell]:
    """Two calls meet twice: either may be the one within which the other is made."""
    made = []
    for one, other in combinations(FEATURES, 2):
        if (one.name, other.name) not in CANNOT_MEET:
            made.append(Cell(one, other))
            if isinstance(one, Call) and isinstance(other, Call):
                made.append(Cell(other, one))
    return made


@pytest.mark.parametrize(
    "store", EVERY_STORE if os.environ.get("DURABLE_FEATURES") == "all" else ["memory"], indirect=True
)
@pytest.mark.parametrize("cell", cells(), ids=str)
async def test_where_two_features_meet(store: StateStore, cell: Cell) -> None:
    await meet(store, cell)


def test_the_table_has_no_hole() -> None:
    """34 features make 561 pairs: each one meets, or says why it cannot."""
    pairs = {(one.name, other.name) for one, other in combinations(FEATURES, 2)}
    met = {frozenset(cell.has) for cell in cells()}
    assert len(pairs) == 561
    assert CANNOT_MEET.keys() < pairs
    assert met == {frozenset(pair) for pair in pairs - CANNOT_MEET.keys()}
    assert PAIRS.keys() == {(one.name, other.name) for one, other in combinations(ACTS, 2)} - CANNOT_MEET.keys()
