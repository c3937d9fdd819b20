"""Threads: as many as this process may use, waiting without holding a core, and the user's own settings first."""

import os
import subprocess
import sys

import pytest

from scfviz import threads
from scfviz.errors import OptionError
from scfviz.threads import WAITING, chosen_threads, is_users_choice, quota_cores, thread_environment


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 8)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        # the strictest of all levels holds, wherever it stands
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            2.0,
        ),
        # a container is told the host's path, and finds its own group at the mount
        ({"proc/self/cgroup": "0::/../../docker/9f\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n2:cpu,cpuacct:/docker/9f\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "odd\n"}, None),
    ],
)
def test_the_quota_of_a_container_is_found_in_both_versions_of_control_groups(files, cores, tmp_path):
    assert quota_cores(write(tmp_path, files)) == cores


def test_threads_fit_quota_and_affinity(monkeypatch):
    monkeypatch.setattr(threads, "affinity_cores", lambda: 16)
    for quota, expected in ((None, 16), (1.5, 2), (0.2, 1), (64.0, 16)):
        monkeypatch.setattr(threads, "quota_cores", lambda quota=quota: quota)
        assert threads.available_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_computes_with_one_thread():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from scfviz.threads import prepare_threads; print(prepare_threads(), os.environ['OMP_NUM_THREADS'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in (*threads.COUNTS, threads.CHOSEN_HERE)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1", "1"]


def test_waiting_is_passive_unless_the_user_says_otherwise(eight_cores):
    assert WAITING.items() <= thread_environment({}).items()
    assert "OMP_WAIT_POLICY" not in thread_environment({"OMP_WAIT_POLICY": "ACTIVE"})


def test_the_users_own_number_wins_and_counts_for_all_libraries(eight_cores):
    found = thread_environment({"OMP_NUM_THREADS": "3"})
    assert "OMP_NUM_THREADS" not in found and found["NUMBA_NUM_THREADS"] == "3"
    assert "NUMBA_NUM_THREADS" not in thread_environment({"NUMBA_NUM_THREADS": "5"})
    assert chosen_threads({"OMP_NUM_THREADS": "4,2"}) == 4 and chosen_threads({"OMP_NUM_THREADS": "many"}) == 8
    asked = thread_environment({"OMP_NUM_THREADS": "3"}, 2)
    assert asked["OMP_NUM_THREADS"] == asked["NUMBA_NUM_THREADS"] == "2" and is_users_choice(asked)


def test_what_the_app_chose_is_no_choice_of_the_user_for_its_workers(eight_cores):
    app = thread_environment({})
    assert app["OMP_NUM_THREADS"] == "8" and not is_users_choice(app)
    worker = app | thread_environment(app, keep_free=1)
    assert worker["OMP_NUM_THREADS"] == worker["NUMBA_NUM_THREADS"] == "7" and not is_users_choice(worker)
    assert is_users_choice({"OMP_NUM_THREADS": "8"}) and not is_users_choice({})


def test_a_small_machine_is_used_whole(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    assert thread_environment({}, keep_free=1)["OMP_NUM_THREADS"] == "2"


def test_no_threads_is_refused():
    with pytest.raises(OptionError, match="threads is 0"):
        thread_environment({}, 0)


def test_the_tests_themselves_wait_passively():
    assert os.environ["OMP_WAIT_POLICY"].upper() == "PASSIVE"


def test_every_command_that_computes_takes_threads(monkeypatch, capsys):
    from scfviz.__main__ import build_parser, main

    for command in (["embed"], ["embed-genes"], ["benchmark"], ["pretrain"], ["adapt"], ["corpus", "plan"]):
        assert main([*command, "--help"]) == 0
        assert "--threads" in capsys.readouterr().out, command
    monkeypatch.setattr(threads, "use_threads", lambda n: None)
    args = build_parser().parse_args(["embed", "absent.h5ad", "out.h5ad", "--threads", "3"])
    assert args.threads == 3
    for name in (*threads.COUNTS, threads.CHOSEN_HERE):
        monkeypatch.setenv(name, "2")
    assert main(["embed", "absent.h5ad", "out.h5ad", "--threads", "3"]) == 2
    assert os.environ["OMP_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "3"
    assert main(["embed", "absent.h5ad", "out.h5ad", "--threads", "0"]) == 2
    assert "threads is 0" in capsys.readouterr().err
