"""What a result folder holds comes back as it was."""

from mmap import mmap

import numpy as np
import pandas as pd
from scipy import sparse

from scfviz.tasks.result import Result, read_result, write_result
from scfviz.tasks.steps import Steps


def origin(values: np.ndarray) -> object:
    """What holds the numbers of an array in the end."""
    while isinstance(values, np.ndarray) and values.base is not None:
        values = values.base
    return values


def test_arrays_come_back_dense_or_sparse_and_are_read_from_disk(tmp_path):
    values = np.random.default_rng(0).poisson(0.3, (5, 7)).astype(np.float32)
    result = Result(
        np.arange(5), pd.DataFrame(index=list("abcde")), {"dense": values, "thin": sparse.csr_matrix(values)}
    )
    write_result(tmp_path, result)
    found = read_result(tmp_path).arrays
    assert list(found) == ["dense", "thin"] and "thin" in found and "other" not in found
    np.testing.assert_array_equal(found["dense"], values)
    np.testing.assert_array_equal(found["thin"].toarray(), values)
    np.testing.assert_array_equal(found["thin"][[3, 0]].toarray(), values[[3, 0]])
    assert isinstance(origin(found["dense"]), mmap) and isinstance(origin(found["thin"].data), mmap)


def test_an_array_kept_on_disk_is_computed_once_and_becomes_part_of_the_result_without_a_copy(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "result").mkdir()
    values, computed = np.random.default_rng(0).normal(size=(5, 7)), []
    for _ in range(2):  # the second as after an interruption
        kept = Steps(tmp_path / "work").keep("values", lambda: computed.append(1) or values, mapped=True)
    assert len(computed) == 1 and isinstance(origin(kept), mmap)
    write_result(tmp_path / "result", Result(np.arange(5), pd.DataFrame(index=list("abcde")), {"found": kept}))
    np.testing.assert_array_equal(read_result(tmp_path / "result").arrays["found"], values)
    assert (tmp_path / "result" / "arrays" / "found.npy").samefile(tmp_path / "work" / "values.npy")
