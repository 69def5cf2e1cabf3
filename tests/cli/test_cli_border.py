"""The one border: every error is a line, a hint and an exit code; the terminal is given back whatever happens."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_engine import Script, call

from sharedllm_cli import __version__, errors

COMMAND = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.pdf"
    path.write_text("x")
    return str(path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SharedLLMError("it broke"), 1),
        (errors.DocumentError("it broke"), 3),
        (errors.ModelError("it broke"), 4),
        (errors.StoredIndexError("it broke"), 5),
        (errors.ResourceError("it broke"), 6),
        (MemoryError(), 6),
        (OutOfMemoryError("CUDA out of memory"), 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 6),
        (OSError(errno.ENOSPC, "No space left on device"), 6),
        (KeyError("surprise"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(book: str, error: BaseException, code: int) -> None:
    ran = call(Script(error=error), "ask", book, "When?")
    assert ran.code == code
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert 1 <= ran.err.count("\n") <= 2
    assert ran.err.startswith("interrupted: " if code == 130 else "error: ")


def test_a_hint_stands_on_a_line_of_its_own(book: str) -> None:
    ran = call(Script(error=errors.ModelError("no such model", hint="try\nanother")), "ask", book, "When?")
    assert ran.err == "error: no such model\nhint: try another\n"


def test_verbose_shows_the_traceback_too(book: str) -> None:
    ran = call(Script(error=KeyError("surprise")), "ask", book, "When?", "--verbose")
    assert "Traceback (most recent call last)" in ran.err
    assert "error: internal error: KeyError: 'surprise'" in ran.err


def test_an_error_amid_the_answer_ends_the_line_first(book: str) -> None:
    ran = call(Script(late_error=errors.ModelError("the model stumbled")), "ask", book, "When?")
    assert (ran.code, ran.out) == (4, "The lamp is lit at dusk.\n")
    assert ran.err == "error: the model stumbled\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["aks"], "did you mean: sharedllm ask"),
        (["xyzzy"], "one of: ask, chat"),
        (["models", "lst"], "did you mean: sharedllm models list"),
        (["ask", "a", "b", "--modle", "x"], "--modle"),
        (["ask"], "sharedllm ask --help"),
        (["ask", "a", "b?", "--seed", "x"], "--seed must be a whole number, got 'x'"),
        (["ask", "a", "b?", "--top-p", "2"], "--top-p must be above 0 and at most 1"),
        (["ask", "a", "b?", "--policy", "best"], "choose one of hybrid"),
        (["index"], "sharedllm index --help"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    ran = call(Script(), *arguments)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "\nhint: " in ran.err
    assert says in ran.err
    assert ran.err.count("\n") == 2


def test_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(Script(), "--version").code == 0
    assert capsys.readouterr().out == f"sharedllm {__version__}\n"
    assert call(Script()).code == 0
    assert capsys.readouterr().out.startswith("Usage: sharedllm COMMAND")
    assert call(Script(), "models").code == 0
    assert "pull" in capsys.readouterr().out


def start(*arguments: str, script: str, **streams: int) -> subprocess.Popen[str]:
    environment = os.environ | {"FAKE_ENGINE": script}

    def heed_interrupts() -> None:
        # Under a shell's background job the interrupt would come ignored, and the command would rightly ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        text=True,
        encoding="utf-8",
        preexec_fn=heed_interrupts,
        **streams,
    )


def test_control_c_stops_a_running_answer(book: str) -> None:
    process = start("ask", book, "When?", script="slow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(9) == "The lamp "
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out.endswith("\n")
    assert err == "interrupted: finished work is kept; run the same command again to continue\n"


def test_a_reader_that_goes_away_is_no_error(book: str) -> None:
    process = start("ask", book, "When?", script="long", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 141


@pytest.mark.parametrize("script", ["plain", "failing", "stuck"])
def test_a_reader_of_standard_error_that_goes_away_is_no_error_either(book: str, script: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("ask", book, "When?", script=script, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 141
    assert out == ("The lamp is lit at dusk.\n" if script == "plain" else "")


def test_both_streams_into_a_reader_that_takes_one_line(book: str) -> None:
    process = start("ask", book, "When?", script="plain", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert process.stdout.readline() == "The lamp is lit at dusk.\n"
    process.stdout.close()
    assert process.wait(timeout=120) in (0, 141), "0 where all was written before the reader left"


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_a_stream_that_was_never_open(book: str, closed: str) -> None:
    line = f"exec {' '.join(map(shlex.quote, COMMAND))} ask {shlex.quote(book)} When? {closed}"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ("The lamp is lit at dusk.\n" if closed == "2>&-" else "")


def test_a_terminal_that_can_only_do_ascii(book: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = subprocess.run(
        [*COMMAND, "ask", book, "When?"], env=environment, capture_output=True, timeout=120, check=False
    )
    assert ran.returncode == 0
    assert b"?The lamp is lit" in ran.stderr


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_file_that_the_system_does_not_let_grow_is_a_matter_of_the_machine(number: int, book: str) -> None:
    ran = call(Script(error=OSError(number, "no", "/somewhere/file")), "ask", book, "When is it?")
    assert ran.code == 6
    assert "error: " in ran.err
    assert "/somewhere/file" in ran.err
    assert "internal error" not in ran.err
