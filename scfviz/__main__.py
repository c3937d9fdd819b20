"""The command line: `scfviz` or `python -m scfviz`. The commands themselves are in `scfviz.commands`."""

import sys

TYPE_CHECKING = False  # that of typing, without importing it
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

BAD_INPUT, INTERRUPTED = 2, 130


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit code: 0 done, 2 the input or an option can't be used (one sentence on stderr), 130 stopped with Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # names may hold letters that the terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    when_stopped: list[str] = []
    try:
        # Everything is imported in here, so that Ctrl-C in the first moment is no traceback either.
        return _run(argv, when_stopped)
    except KeyboardInterrupt:
        print("\nscfviz: stopped.", *filter(None, when_stopped), file=sys.stderr)
        return INTERRUPTED


def _run(argv: "Sequence[str] | None", when_stopped: list[str]) -> int:
    import errno
    import os

    from scfviz.errors import ScfvizError
    from scfviz.threads import prepare_threads

    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        prepare_threads(getattr(args, "threads", None))  # before torch is loaded
        return args.run(args)
    except ScfvizError as error:
        print(f"scfviz: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        if error.errno == errno.ENOSPC:
            said = "scfviz: The disk is full. Make room, then try again."
            print(said, getattr(args, "when_stopped", ""), file=sys.stderr)
        else:
            print(f"scfviz: {error.strerror or error}: {error.filename or 'while writing'}", file=sys.stderr)
        return BAD_INPUT
    finally:
        when_stopped.append(getattr(args, "when_stopped", ""))


def build_parser() -> "argparse.ArgumentParser":
    """The parser of `scfviz` with all its commands, in the order of `scfviz --help`."""
    import argparse

    from scfviz import __version__
    from scfviz.commands import app, benchmark, check, checkpoints, inference, parts, tasks, training

    parser = argparse.ArgumentParser(prog="scfviz", description="scFoundation for single-cell data.")
    parser.add_argument("--version", action="version", version=f"scfviz {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        check.add_check,
        checkpoints.add_import_checkpoint,
        tasks.add_task_commands,
        inference.add_embed_genes,
        inference.add_expression,
        parts.add_merge,
        benchmark.add_benchmark,
        training.add_training_commands,
        app.add_app,
    ):
        add(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
