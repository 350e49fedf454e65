"""Many delayed calls share one timer."""

import asyncio

from fastapi_durable.engine.core.delay import Delay


async def test_calls_are_made_in_order_and_cancelled_ones_are_not() -> None:
    delay, done = Delay(0.01), asyncio.Event()
    made: list[int] = []
    delay.call(lambda: made.append(1))
    delay.call(lambda: made.append(2)).cancel()
    delay.call(lambda: made.append(3))
    delay.call(done.set)
    await asyncio.wait_for(done.wait(), 60)
    assert made == [1, 3]


async def test_a_call_that_asks_for_another_one_gets_it() -> None:
    delay, done = Delay(0.001), asyncio.Event()

    def ask_again() -> None:
        delay.call(done.set)

    delay.call(ask_again)
    await asyncio.wait_for(done.wait(), 60)


def failing() -> None:
    raise IndexError


async def test_a_call_that_fails_does_not_keep_the_others() -> None:
    reported: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    delay, done = Delay(0.001), asyncio.Event()
    delay.call(failing)
    delay.call(done.set)
    await asyncio.wait_for(done.wait(), 60)
    assert [type(error) for error in reported] == [IndexError]


def test_it_works_in_the_next_event_loop() -> None:
    """One that was closed in between leaves a timer behind which never fires."""
    delay = Delay(0.001)

    async def ask() -> None:
        delay.call(lambda: None)

    async def ask_and_wait() -> None:
        done = asyncio.Event()
        delay.call(done.set)
        await asyncio.wait_for(done.wait(), 60)

    asyncio.run(ask())
    asyncio.run(ask_and_wait())
