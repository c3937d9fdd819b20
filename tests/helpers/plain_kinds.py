"""Jobs without science, so that queue, worker and cancel can be tested in real processes without loading torch.

Run as a script it is a worker that knows them: `python plain_kinds.py <workspace> <lane> <idle seconds>`.
"""

import subprocess
import sys
import time

from scfviz.errors import Stopped
from scfviz.jobs import kinds


def prepare(options, workspace):
    return options, options


def datasets(options):
    return tuple(options[name] for name in ("dataset",) if options.get(name))


def run(folder, options, report, should_stop):
    """Steps of a tenth of a second, each kept on disk.

    `deaf` never looks at the cancel flag; `fault` breaks at the end.
    """
    kept = folder / "work" / "steps.txt"
    done = len(kept.read_text().split()) if kept.exists() else 0
    for step in range(done, options["steps"]):
        report(step / options["steps"], "Working")
        if should_stop() and not options.get("deaf"):
            raise Stopped
        time.sleep(0.1)
        with kept.open("a") as file:
            file.write(f"{step}\n")
    if options.get("fault") == "disk":
        raise OSError(28, "No space left on device")
    if options.get("fault") == "memory":
        raise MemoryError
    if options.get("fault"):
        raise KeyError("something\nthat should not happen")
    (folder / "result.partial" / "steps.txt").write_text(kept.read_text())


if __name__ == "__main__":
    from scfviz.jobs import worker

    kinds.KINDS |= {"plain": "plain_kinds", "slow": "plain_kinds"}
    kinds.LONG.add("slow")
    worker.start_worker = lambda _: subprocess.Popen([sys.executable, *sys.argv], start_new_session=True)
    raise SystemExit(worker.main(sys.argv[1:]))
