"""The study's page: one HTML file that opens anywhere, asks the network for nothing, and begins
with the answer, below the study's title. Light.

Everything is read from the ledger. Charts are drawn by plotly.js, which the file carries; they are
SVG, so that they print. What users wrote (titles, names, choices, reasons) is only ever text:
escaped in HTML, in the charts' JSON and for plotly's own markup, and the page's policy lets no
script run but the two that it was made with. Curves are thinned out in long studies.

    ledger ─ study_data ─→ answer (the first line, what else must be said, tiles)
                     ├───→ sections: results · mistakes · trials · path · coordinates · fanova
                     │      · slices · learning · trust · budget · times
                     └───→ frame (provenance, the policy, page.css and page.js) ─→ one file

``parts`` has the text and tables, ``charts`` the figures that all of these are made of. A section
without anything to show is "".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autokd.files import write_atomically
from autokd.report.answer import about, first_line, notes, tiles, use_it
from autokd.report.budget import by_branch
from autokd.report.charts import thin
from autokd.report.coordinates import parallel
from autokd.report.fanova import importance, importances
from autokd.report.frame import document, provenance, sections
from autokd.report.learning import best_so_far, curves
from autokd.report.mistakes import beside_teacher, classes, gallery
from autokd.report.parts import esc
from autokd.report.path import to_the_winner
from autokd.report.results import confirmed, recipe
from autokd.report.slices import one_by_one
from autokd.report.study_data import StudyData
from autokd.report.times import spent, time_spent
from autokd.report.trials import leaderboard, pareto
from autokd.report.trust import calibration, pooled, rank_correlation
from autokd.study import ledger
from autokd.study.statistics import LEAST

__all__ = [
    "LEAST",
    "Page",
    "StudyData",
    "importance",
    "importances",
    "page",
    "parallel",
    "pooled",
    "rank_correlation",
    "spent",
    "thin",
    "write",
]

SECTIONS = {
    "Result": confirmed,
    "Class by class": classes,
    "Student and teacher": beside_teacher,
    "Mistakes": gallery,
    "Leaderboard of the search": leaderboard,
    "From the base to the winner": to_the_winner,
    "Quality against cost": pareto,
    "What was tried": parallel,
    "What mattered": importances,
    "One parameter at a time": one_by_one,
    "Learning curves": curves,
    "Best so far": best_so_far,
    "Calibration": calibration,
    "Do early epochs predict the end?": rank_correlation,
    "Where the epochs went": by_branch,
    "Where the time went": time_spent,
    "Recipe": recipe,
}


@dataclass(frozen=True)
class Page:
    """The file, and its first line as plain text: our own words alone, and with the recipe, where
    users' words may stand.
    """

    html: str
    headline: str
    answer: str


def write(folder: Path, out: Path | None = None) -> Path:
    """The page of the study in ``folder``, as a file. Raises OSError where it cannot be written."""
    out = out or folder / "report.html"
    write_atomically(out, page(folder).html)
    return out


def page(folder: Path) -> Page:
    """The page of the study in ``folder``, finished or not."""
    study = StudyData(folder.name, *ledger.read(folder), folder)
    headline, choice = first_line(study)
    header = (
        f'<p class="study">{esc(about(study))}</p><h1>{esc(headline)} <span'
        f' class="choice">{esc(choice)}</span></h1>{notes(study)}{tiles(study)}'
    )
    drawn = {title: section(study) for title, section in SECTIONS.items()}
    body = f"<header>{header}{use_it(study)}</header>" + sections(
        {title: content for title, content in drawn.items() if content}
    )
    return Page(
        document(study.title, body + provenance(study)), headline, f"{headline} {choice}".strip()
    )
