"""The lines of a chat, one after the other: questions and slash commands. One that goes wrong does not end it."""

from __future__ import annotations

from sharedllm_cli.cli.chat.conversation import Conversation
from sharedllm_cli.cli.chat.facts import remark, show_documents
from sharedllm_cli.cli.chat.keyboard import Keyboard
from sharedllm_cli.cli.chat.slash_commands import is_command, run_command
from sharedllm_cli.cli.failures import translate

FAREWELLS = frozenset({"exit", "quit"})
"""Typed alone at a terminal they mean /quit."""


def run(conversation: Conversation, keyboard: Keyboard) -> int:
    """Take lines until there are no more; the exit code: 0, or that of the first question that failed."""
    interactive = keyboard.interactive
    if interactive:
        if conversation.turns:
            conversation.call.console.say("")
        show_documents(conversation.call.console, conversation.library, conversation.absent)
        remark(conversation.call.console, "Ask a question, or type /help. Ctrl-D leaves.")
    for line in keyboard.lines():
        try:
            _take(conversation, line.strip(), interactive=interactive)
        except KeyboardInterrupt:
            if not interactive:
                raise
            conversation.call.console.say("stopped", style="yellow")
        if conversation.left:
            break
    if interactive and conversation.keeps and conversation.turns and not conversation.told_unkept:
        conversation.call.console.say("kept: `sharedllm chat` goes on with this conversation", style="dim")
    return 0 if interactive else conversation.code


def _take(conversation: Conversation, line: str, *, interactive: bool) -> None:
    console = conversation.call.console
    try:
        if is_command(line):
            run_command(conversation, line)
        elif interactive and line.lower() in FAREWELLS:
            conversation.left = True
        elif line:
            conversation.ask(line, interactive=interactive)
    except BrokenPipeError:
        raise
    except Exception as error:
        # Whatever went wrong with one line, what was said before it is worth more than an early end.
        problem = translate(error)
        if console.verbose:
            console.traceback(error)
        console.problem(problem)
        conversation.code = conversation.code or problem.exit_code
    finally:
        conversation.keep()
