"""A loop of a model and its tools, in which every answer and every tool call is a checkpoint.

It prints:

    It is sunny in Berlin.
"""

import asyncio
from typing import Literal

from pydantic import BaseModel

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, WorkflowContext, step, workflow


class Message(BaseModel):
    role: Literal["user", "assistant", "tool"]
    text: str


class Answer(BaseModel):
    text: str
    tool: str | None = None  # the tool to call next; None: the answer is final


class Conversation(BaseModel):
    messages: list[Message]


@step(max_attempts=5, timeout="60s")
async def ask_model(conversation: Conversation) -> Answer:
    """In real life: a request to your model provider. Paid once, however often the run replays."""
    if conversation.messages[-1].role == "tool":
        return Answer(text=f"It is {conversation.messages[-1].text} in Berlin.")
    return Answer(text="I look it up.", tool="weather")


@step(max_attempts=3)
async def call_tool(name: str) -> str:
    return {"weather": "sunny"}[name]


@workflow
async def agent(ctx: WorkflowContext, question: str) -> str:
    messages = [Message(role="user", text=question)]
    for _ in range(10):  # a limit, so that a confused model ends
        answer = await ctx.step(ask_model, Conversation(messages=messages))
        messages.append(Message(role="assistant", text=answer.text))
        if answer.tool is None:
            break
        messages.append(Message(role="tool", text=await ctx.step(call_tool, answer.tool)))
    return messages[-1].text


async def main() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[agent])
    async with durable.running() as runtime:
        print(await runtime.service.execute(agent, "How is the weather in Berlin?"))


if __name__ == "__main__":
    asyncio.run(main())
