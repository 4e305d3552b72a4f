"""A finished or running study, as a notebook uses it."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe import Recipe, load

if TYPE_CHECKING:
    import pandas

    from autokd.report import StudyData
    from autokd.study.verdict import Result


class Report:
    """A study's page: a file, shown by a notebook as it is."""

    def __init__(self, path: Path):
        self.path = path

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="800" frameborder="0"></iframe>'

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"


class Study:
    """The study of that name under ``AUTOKD_RUNS`` (else ``mlruns``), as its ledger has it now.

    >>> import autokd
    >>> autokd.Study("no-such-study")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    autokd.errors.UserError: ...no-such-study...
    """

    def __init__(self, name: str):
        from autokd.study import ledger

        self.name = name
        self.folder: Path = ledger.existing(runs_root(), name)

    @cached_property
    def _data(self) -> StudyData:
        from autokd.report import StudyData
        from autokd.study import ledger

        return StudyData(self.name, *ledger.read(self.folder), self.folder)

    @property
    def trials(self) -> pandas.DataFrame:
        """A row a trial, finals and controls too, by number: role, state, epochs, what it chose by
        path in the recipe, and its last metrics.
        """
        import pandas

        from autokd.study.choices import settings

        rows = [
            {
                "trial": t.number,
                "role": t.role,
                "state": t.state,
                "epochs": t.epochs,
                **settings(t.varied),
                **{k: v for k, v in t.facts.items() if k.startswith("student/")},
                **t.metrics.get(t.epochs, {}),
            }
            for t in self._data.trials
        ]
        return pandas.DataFrame(rows, columns=None if rows else ["trial"]).set_index("trial")

    @property
    def results(self) -> list[Result]:
        """Of each finalist what was confirmed over fresh seeds, beside its controls."""
        return self._data.results

    @property
    def best(self) -> Result | None:
        """The winner's result; None where nothing was confirmed."""
        return self._data.best

    @property
    def recipe(self) -> Recipe:
        """What the study hands back. Raises :class:`UserError` where there is none."""
        file = self.folder / "recipe.yaml"
        if not file.is_file():
            raise UserError(f"study {self.name!r} has no recipe: unfinished, or without a winner")
        return load(file)

    @property
    def answer(self) -> str:
        """The first line of its page."""
        from autokd.report.answer import first_line

        return " ".join(filter(None, first_line(self._data)))

    def report(self, out: str | Path | None = None) -> Report:
        """Write the study's page (default: ``report.html`` in its folder)."""
        from autokd.report import write

        try:
            return Report(write(self.folder, Path(out) if out else None))
        except OSError as e:
            raise UserError(f"{out or self.folder}: cannot be written: {e.strerror}") from None

    def export(
        self, out: str | Path | None = None, *, onnx: bool = True, calibrate: bool = False
    ) -> Path:
        """Write the student to a folder to hand on (default: ``exports/NAME``); returns it."""
        from autokd.export import bundle

        folder = Path(out) if out else Path("exports") / self.name
        bundle.export(runs_root(), self.name, folder, onnx=onnx, calibrate=calibrate)
        return folder

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(self.name)}</b>: {html.escape(self.answer)}"

    def __repr__(self) -> str:
        return f"Study({self.name!r})"
