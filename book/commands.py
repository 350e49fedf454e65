"""The commands of the command line, read from their parsers."""

import argparse
from collections.abc import Iterator

from book.markdown import code, table
from fastapi_durable.__main__ import command_line as library_commands
from prisma_inprocess.__main__ import command_line as client_commands


def commands_of(parser: argparse.ArgumentParser, help: str = "") -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield each command that does something, with its one-line help.

    Args:
        parser: A parser, with or without commands below it.
        help: Its own one-line help.
    """
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser, parser.description or help
    for action in below:
        texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, command in action.choices.items():
            yield from commands_of(command, texts.get(name, ""))


def commands(of: str) -> str:
    """Return a section for each command of "fastapi-durable" or "prisma-inprocess".

    Args:
        of: The program.
    """
    parser = library_commands() if of == "fastapi-durable" else client_commands(of)
    forwarded = {"generate", "migrate", "db", "validate", "format"} if of == "fastapi-durable" else set()
    sections = []
    for command, help in commands_of(parser):
        if command.prog.removeprefix(f"{of} ") in forwarded:
            text = f"{_sentence(help)} See [`prisma-inprocess`](#prisma-inprocess), which reads the arguments."
        else:
            text = f"{_sentence(help)}\n\n{_arguments(command)}"
        sections.append(f"### {code(command.prog)}\n\n{text}")
    return "\n\n".join(sections)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _arguments(command: argparse.ArgumentParser) -> str:
    formatter = command._get_formatter()
    rows = []
    for action in command._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        shown = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            shown += f" {formatter._format_args(action, action.dest.upper())}"
        rows.append((code(shown), formatter._expand_help(action) if action.help else ""))
    return table(("Argument", "What it does"), rows)
