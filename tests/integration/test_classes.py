"""Workflows and steps that are written as classes, whose instances injection makes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, Request

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    FatalError,
    MemoryStateStore,
    RunFailedError,
    StateStore,
    Undo,
    WorkflowContext,
    fixed,
    step,
    workflow,
)
from fastapi_durable.errors import DefinitionError, InjectionError
from tests.support.engine_rig import until


class Gateway:
    def __init__(self) -> None:
        self.charged: list[int] = []
        self.refunded: list[int] = []


GATEWAY = Gateway()


def get_gateway() -> Gateway:
    return GATEWAY


GatewayDep = Annotated[Gateway, Depends(get_gateway)]


@asynccontextmanager
async def running(
    *workflows: Callable[..., Any],
    gateway: Gateway | None = None,
    store: StateStore | None = None,
    steps: Sequence[Callable[..., Any]] = (),
    overrides: dict[Callable[..., Any], Callable[..., Any]] | None = None,
) -> AsyncIterator[DurableRuntime]:
    durable = DurableModule.for_root(
        DurableOptions(store=store or MemoryStateStore()), workflows=workflows, steps=steps
    )
    own = gateway or Gateway()
    async with durable.running(dependency_overrides={get_gateway: lambda: own, **(overrides or {})}) as runtime:
        yield runtime


@workflow(name="order")
class OrderWorkflow:
    """Charges, waits, and packs; refunds if packing fails."""

    made = 0

    def __init__(self, gateway: GatewayDep) -> None:
        type(self).made += 1
        self.gateway = gateway

    async def run(self, ctx: WorkflowContext, cents: int, *, again: GatewayDep) -> str:
        assert again is self.gateway
        charge = await ctx.step(self.charge, cents, compensate=self.refund)
        await ctx.wait_for_signal("go")
        return f"{charge}, {await self.pack(cents)}"

    @step
    async def charge(self, cents: int) -> str:
        self.gateway.charged.append(cents)
        return f"charged {cents}"

    @step
    async def refund(self, done: Undo[int, str]) -> None:
        self.gateway.refunded.append(done.input)

    @step(name="pack it", max_attempts=2, backoff=fixed("1ms"))
    async def pack(self, cents: int) -> str:
        if cents == 13:
            raise FatalError("no box")
        return await self.wrap(cents)

    @step
    async def wrap(self, cents: int) -> str:
        return f"packed {cents}"


async def waits(runtime: DurableRuntime, run_id: str) -> bool:
    return bool(await runtime.service.waiting_for([run_id]))


async def test_a_step_of_a_class_is_recorded_and_not_executed_again_in_the_next_process() -> None:
    store, gateway = MemoryStateStore(), Gateway()
    OrderWorkflow.made = 0
    async with running(OrderWorkflow, store=store, gateway=gateway) as runtime:
        await runtime.service.start(OrderWorkflow, 7, run_id="run")
        await until(lambda: waits(runtime, "run"))
    async with running(OrderWorkflow, store=store, gateway=gateway) as runtime:
        await runtime.service.signal("go")
        assert await runtime.service.handle("run", OrderWorkflow).result("60s") == "charged 7, packed 7"
        detail = await runtime.service.get_run_detail("run")
    assert detail is not None
    assert [row.name for row in detail.timeline] == ["OrderWorkflow.charge", "signal:go", "pack it"]
    assert gateway.charged == [7]
    assert OrderWorkflow.made == 2, "a turn has an instance of its own"


async def test_a_failed_class_is_undone_by_its_own_methods() -> None:
    gateway = Gateway()
    async with running(OrderWorkflow, gateway=gateway) as runtime:
        await runtime.service.signal("go")
        with pytest.raises(RunFailedError, match="no box"):
            await runtime.service.execute(OrderWorkflow, 13, timeout="60s")
    assert (gateway.charged, gateway.refunded) == ([13], [13])


async def test_outside_of_a_run_the_methods_are_what_they_look_like() -> None:
    instance = OrderWorkflow(Gateway())
    assert await instance.pack(7) == "packed 7"
    assert await OrderWorkflow.wrap(instance, 7) == "packed 7"
    assert await instance.charge(cents=3) == "charged 3"


async def test_an_override_takes_the_place_of_the_instance() -> None:
    class Fake(OrderWorkflow):
        async def charge(self, cents: int) -> str:
            return f"pretended {cents}"

    async with running(OrderWorkflow, overrides={OrderWorkflow: Fake}) as runtime:
        await runtime.service.signal("go")
        assert await runtime.service.execute(OrderWorkflow, 7, timeout="60s") == "pretended 7, packed 7"


async def test_calls_side_by_side_take_their_positions_in_the_order_of_the_calls() -> None:
    @workflow
    class Pair:
        async def run(self, ctx: WorkflowContext) -> list[int]:
            late, early = self.double(1), self.double(2)
            return [await early, await late, *await asyncio.gather(self.double(3), self.double(4))]

        @step
        async def double(self, value: int) -> int:
            return 2 * value

    async with running(Pair) as runtime:
        assert await runtime.service.execute(Pair, run_id="run", timeout="60s") == [4, 2, 6, 8]
        detail = await runtime.service.get_run_detail("run")
    assert detail is not None
    assert [(row.seq, row.input) for row in detail.timeline] == [(0, 1), (1, 2), (2, 3), (3, 4)]


async def test_a_dataclass_declares_its_dependencies_in_the_class() -> None:
    @workflow
    @dataclass(slots=True)
    class Dated:
        gateway: GatewayDep

        async def run(self, ctx: WorkflowContext, cents: int) -> int:
            await self.charge(cents)
            return len(self.gateway.charged)

        @step
        async def charge(self, cents: int) -> None:
            self.gateway.charged.append(cents)

    async with running(Dated) as runtime:
        assert await runtime.service.execute(Dated, 7, timeout="60s") == 1


class Payments:
    """Steps without a workflow."""

    def __init__(self, gateway: GatewayDep) -> None:
        self.gateway = gateway

    @step
    async def charge(self, cents: int, *, gateway: GatewayDep) -> str:
        assert gateway is self.gateway
        self.gateway.charged.append(cents)
        return f"charged {cents}"

    @step(name="refund")
    def refund(self, done: Undo[int, str]) -> None:
        self.gateway.refunded.append(done.input)


@workflow
async def pay(ctx: WorkflowContext, cents: int) -> str:
    charge = await ctx.step(Payments.charge, cents, compensate=Payments.refund)
    again = await ctx.step("Payments.charge", cents)
    if cents < 0:
        raise ValueError("not a price")
    return f"{charge}, {again}"


async def test_injection_makes_the_instance_of_a_method_that_is_named_by_its_class() -> None:
    gateway = Gateway()
    async with running(pay, steps=[Payments], gateway=gateway) as runtime:
        assert await runtime.service.execute(pay, 5, timeout="60s") == "charged 5, charged 5"
        with pytest.raises(RunFailedError):
            await runtime.service.execute(pay, -1, timeout="60s")
    assert (gateway.charged, gateway.refunded) == ([5, 5, -1, -1], [-1])


async def test_a_workflow_class_s_own_methods_need_no_registration() -> None:
    @workflow
    class Unbound:
        async def run(self, ctx: WorkflowContext) -> int:
            return await ctx.step(Unbound.double, 2)

        @step
        async def double(self, value: int) -> int:
            return 2 * value

    async with running(Unbound) as runtime:
        assert await runtime.service.execute(Unbound, timeout="60s") == 4


async def test_a_method_of_an_unknown_class_is_refused_with_the_mend() -> None:
    async with running(pay) as runtime:
        with pytest.raises(RunFailedError, match=r"name the class in DurableModule\(steps="):
            await runtime.service.execute(pay, 5, timeout="60s")


async def test_a_plain_def_on_self_is_refused_in_the_body_and_works_as_a_step() -> None:
    @workflow
    class Blocking:
        async def run(self, ctx: WorkflowContext, careless: bool) -> int:
            return self.double(2) if careless else await ctx.step(self.double, 2)

        @step
        def double(self, value: int) -> int:
            return 2 * value

    async with running(Blocking) as runtime:
        assert await runtime.service.execute(Blocking, False, timeout="60s") == 4
        with pytest.raises(RunFailedError, match=r"await ctx\.step\(self\.double"):
            await runtime.service.execute(Blocking, True, timeout="60s")


async def test_the_input_of_a_step_is_not_given_by_name() -> None:
    @workflow
    class Named:
        async def run(self, ctx: WorkflowContext) -> int:
            return await self.double(value=2)

        @step
        async def double(self, value: int) -> int:
            return 2 * value

    async with running(Named) as runtime:
        with pytest.raises(RunFailedError, match="must be given by position"):
            await runtime.service.execute(Named, timeout="60s")


async def test_classes_are_children_and_go_on_as_new_ones() -> None:
    @workflow
    class Countdown:
        async def run(self, ctx: WorkflowContext, left: int) -> str:
            if left > 0:
                ctx.continue_as_new(left - 1)
            return ctx.run_id

    @workflow
    class Parent:
        async def run(self, ctx: WorkflowContext) -> list[str]:
            spawned = await ctx.start_child(Countdown, 0, run_id="spawned")
            return [await ctx.child(Countdown, 1, run_id="one"), *await ctx.all(Countdown, [0, 0]), spawned]

    async with running(Parent, Countdown) as runtime:
        assert await runtime.service.execute(Parent, run_id="p", timeout="60s") == [
            "one~1",
            "p.all.2.0",
            "p.all.2.1",
            "spawned",
        ]


async def test_a_subclass_has_its_parent_s_steps_and_is_a_workflow_of_its_own() -> None:
    class Gift(OrderWorkflow):
        async def run(self, ctx: WorkflowContext, cents: int, *, again: GatewayDep) -> str:
            return f"gift: {await self.wrap(cents)}"

    with pytest.raises(DefinitionError, match="'Gift' is not a workflow"):
        DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[Gift])
    workflow(name="gift")(Gift)
    async with running(OrderWorkflow, Gift) as runtime:
        assert await runtime.service.execute(Gift, 7, run_id="run", timeout="60s") == "gift: packed 7"
        detail = await runtime.service.get_run_detail("run")
    assert detail is not None
    assert [row.name for row in detail.timeline] == ["OrderWorkflow.wrap"]


async def test_what_a_class_needs_is_checked_at_the_start() -> None:
    class WithRequest:
        def __init__(self, request: Request) -> None: ...

        async def run(self, ctx: WorkflowContext) -> None: ...

    with pytest.raises(InjectionError, match=r"'request' of dependency 'WithRequest'.*workflow 'WithRequest'"):
        async with running(workflow(WithRequest)):
            pass

    class WithRequestInStep:
        async def run(self, ctx: WorkflowContext) -> None: ...

        @step
        async def charge(self, cents: int, *, request: Request) -> None: ...

    with pytest.raises(InjectionError, match=r"'request' of step '.*charge'"):
        async with running(workflow(WithRequestInStep)):
            pass


def test_a_class_that_cannot_work_is_refused_with_the_mend() -> None:
    class WithoutRun: ...

    class Blocking:
        def run(self, ctx: WorkflowContext) -> None: ...

    class WithoutContext:
        async def run(self) -> None: ...

    refused: tuple[tuple[Any, str], ...] = (
        (WithoutRun, "must have `async def run"),
        (Blocking, "must be `async def"),
        (WithoutContext, "must take self and ctx"),
    )
    for cls, message in refused:
        with pytest.raises(DefinitionError, match=message):
            DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[workflow(cls)])
    with pytest.raises(DefinitionError, match="overrides a step"):

        @workflow
        class Undecorated(OrderWorkflow):
            async def charge(self, cents: int) -> str:
                return ""

    with pytest.raises(DefinitionError, match="a step without `self`"):

        @workflow
        class Static:
            @staticmethod
            @step
            async def charge(cents: int) -> None: ...

    with pytest.raises(DefinitionError, match="has no steps"):
        DurableModule.for_root(DurableOptions(store=MemoryStateStore()), steps=[WithoutRun])
