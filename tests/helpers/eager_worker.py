"""A worker that saves after every batch, not every few seconds, so that a small job can be killed in its middle."""

import sys

from scfviz.jobs import worker
from scfviz.model import store

if __name__ == "__main__":
    store._SAVE_EVERY_SECONDS = 0.0
    raise SystemExit(worker.main(sys.argv[1:]))
