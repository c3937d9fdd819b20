"""Batches side by side: the same results in the same order, whatever the number of threads."""

import threading
import time

import pytest
import torch

from scfviz.model.lanes import compute_in_order
from scfviz.model.packed_linear import round_up

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_with_as_many_lanes_as_threads(n_threads):
    running, most, lock = 0, 0, threading.Lock()

    def compute(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02 if number % 3 else 0.06)
        with lock:
            running -= 1
        return number, torch.get_num_threads()

    found = list(compute_in_order(((n, lambda n=n: compute(n)) for n in range(12)), CPU))
    assert [tag for tag, _ in found] == [number for _, (number, _) in found] == list(range(12))
    assert {threads for _, (_, threads) in found} == {1}
    assert most <= n_threads and torch.get_num_threads() == n_threads
    begun_later = []
    thread = threading.Thread(target=lambda: begun_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert begun_later == [n_threads], "other threads have as many as before"


def test_an_error_comes_in_its_turn_and_nothing_is_taken_after_it(n_threads):
    taken = []

    def tasks():
        for number in range(20):
            taken.append(number)
            yield number, lambda number=number: 1 / (number - 4)

    found = []
    with pytest.raises(ZeroDivisionError):
        for tag, _ in compute_in_order(tasks(), CPU):
            found.append(tag)
    assert found == [0, 1, 2, 3] and len(taken) <= 5 + n_threads
    assert torch.get_num_threads() == n_threads


def test_products_have_few_shapes_on_a_cpu():
    rows = [round_up(n, CPU) for n in range(1, 4097)]
    assert all(0 <= r - n < 64 for n, r in enumerate(rows, start=1)) and len(set(rows)) == 64
    assert round_up(77, torch.device("meta")) == 77
