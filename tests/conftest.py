"""The fixtures that all tests share. What tests import stands in ``tests.helpers``."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from filelock import FileLock

# Two processes run the tests: one thread each, and threads that wait do it in their sleep. To be
# set before torch is loaded; tests that are about threads set their own.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
pytest.register_assert_rewrite("tests.helpers", "tests.methods", "tests.study.driver")

from tests.helpers import home as small_search  # noqa: E402
from tests.helpers.commands import RECIPE, SPACE  # noqa: E402
from tests.helpers.pictures import PETS, PETS_SPACE, forget, tree  # noqa: E402

Once = Callable[[str, Callable[[Path], None]], Path]


def skip_without_gpu(items: list[pytest.Item]) -> None:
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if wanted and os.environ.get("AUTOKD_GPU_TESTS_ON", "cuda") == "cuda":
        import torch

        if not torch.cuda.is_available():
            for item in wanted:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is begun first: half of it leads each half of the list, which is what two
    processes begin with.
    """
    skip_without_gpu(items)
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if item not in set(long)]
    middle = len(others) // 2
    items[:] = [*long[::2], *others[:middle], *long[1::2], *others[middle:]]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(RECIPE)
    return tmp_path / "base.yaml"


@pytest.fixture
def space_file(recipe_file: Path) -> Path:
    path = recipe_file.parent / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder once in a run of the tests: the first process that asks makes it, the others
    wait. Nobody writes to it afterwards.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = base / "once" / name, base / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.parent / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def home(once: Once) -> Path:
    """A finished search of eight trials, and its export: see :mod:`tests.helpers.home`."""
    return once("home", small_search.make)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """The command line in this process, as in a new one: exit code, stdout, stderr.

    It stands in the test's own folder, with a cache and without data and runs of anybody's; threads
    and environment are afterwards as they were.
    """
    import torch

    from autokd.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    for name in ("AUTOKD_DATA", "AUTOKD_RUNS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()

    def run(*args: Any, cwd: Path | None = None, **env: str) -> tuple[int, str, str]:
        forget()
        with mock.patch.dict(os.environ, env), contextlib.chdir(cwd or Path.cwd()):
            monkeypatch.setattr(sys, "argv", ["autokd", *map(str, args)])
            capfd.readouterr()
            with pytest.raises(SystemExit) as end:
                main()
            out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(end.value.code or 0), out, err

    yield run
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder to work in, with a recipe and a space; what they name lies in ../sets."""
    tree(tmp_path / "sets" / "pets", {"cat": 16, "dog": 16})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "base.yaml").write_text(PETS)
    (tmp_path / "work" / "space.yaml").write_text(PETS_SPACE)
    return tmp_path / "work"
