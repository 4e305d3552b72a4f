"""`autokd search`: find the best recipe of a space."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.api.spaces import read_space
from autokd.cli.options import DataDir, Json, Quiet, Sets
from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe import bounds

if TYPE_CHECKING:
    from autokd.space import Space


def search(
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The search space: a YAML file, or a name of `autokd spaces`."
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A recipe to use in place of the space's own base."),
    ] = None,
    sets: Sets = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=bounds.TRIALS, help="How many trials.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="For the whole command, finals included: 90s, 30m, 2h."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=bounds.JOBS,
            help="Trials side by side (default: one a GPU, else one a CPU).",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=bounds.SAMPLER_SEED, help="Seeds the sampler, nothing else."
        ),
    ] = 0,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The study's name.")] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Begin with what that earlier study found best."),
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add --trials N to a finished study, or --seeds N."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="With --extend: how many more each finalist and control gets."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with a study that was stopped or killed."),
    ] = None,
    data_dir: DataDir = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Ray cluster to use.")
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="An MLflow server (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db).",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and its cost, from a short probe, and stop."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search for the best recipe; ends by printing its path."""
    if sum(x is not None for x in (resume or space, extend)) != 1:
        raise UserError(
            "give --space FILE to begin a search, --resume NAME to go on with one, or --extend NAME"
            " --trials N or --seeds N to add to one"
        )
    if extend and (trials is None) == (seeds is None):
        raise UserError("--extend NAME needs --trials N or --seeds N: how many more")
    if seeds and not extend:
        raise UserError("--seeds N goes with --extend NAME; the space says search/finalists/seeds")
    if resume or extend:
        begun_with: dict[str, Any] = {
            "--jobs": jobs,
            "--seed": seed,
            "--trials": None if extend else trials,
            "--like": like,
        }
        if not space:
            begun_with |= {"--base": base, "--set": sets, "--time": time}
        _refuse(begun_with)
    # Read before anything slow is loaded: a mistake is told at once.
    how: dict[str, Any] = {"sets": tuple(sets or ()), "time": time, "like": like, "trials": trials}
    loaded = read_space(space, base, **how) if space else None
    if dry_run:
        _plan(loaded, trials, jobs, ray_address, as_json)
        return

    from autokd.cli import summary
    from autokd.cli.live import LiveView

    view = LiveView(quiet=quiet)
    view.stage("loading the libraries")
    from autokd.engine import search as engine

    chosen = resume or extend or name or engine.next_name(space.stem if space else "search")
    view.stage("looking at data, networks and files")
    where = {"uri": tracking_uri, "address": ray_address}
    try:
        if extend:
            outcome = engine.extend(chosen, trials or 0, seeds or 0, view=view, **where)
        elif resume:
            outcome = engine.resume(chosen, loaded, view=view, **where)
        else:
            assert loaded is not None
            outcome = engine.start(
                loaded, name=chosen, seed=seed, jobs=jobs, trials=trials, view=view, **where
            )
    except KeyboardInterrupt:
        same = {
            "--data-dir": data_dir,
            "--ray-address": ray_address,
            "--tracking-uri": tracking_uri,
        }
        print(_how_to_go_on(chosen, same), file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        view.stop()
    if as_json:
        print(json.dumps(summary.as_json(outcome)))
    else:
        print(summary.as_text(outcome, shutil.get_terminal_size().columns))
        if not quiet:
            print(summary.what_next(outcome), file=sys.stderr)
    raise typer.Exit(0 if any(t.state == "complete" for t in outcome.table.trials.values()) else 1)


def _refuse(begun_with: Mapping[str, Any]) -> None:
    """Options that a study keeps from its beginning."""
    if told := [option for option, value in begun_with.items() if value]:
        raise UserError(
            f"{', '.join(told)}: a study goes on as it was begun; when it is finished, --extend"
            " NAME --trials N adds trials"
        )


def _plan(
    space: Space | None, trials: int | None, jobs: int | None, address: str | None, as_json: bool
) -> None:
    """What a search would do and cost."""
    from autokd.engine.capacity import capacity
    from autokd.engine.checks import check_needs
    from autokd.engine.probe import probe
    from autokd.study import plan

    if space is None:
        raise UserError("--dry-run plans a new search: give --space FILE")
    check_needs(space)
    there = capacity(space, address)  # refuses what there is too little for
    made = probe(space, plan.plan(space, trials), jobs or there.jobs(space.search.resources.gpu))
    print(json.dumps(plan.as_json(made)) if as_json else plan.text(space, made))


def _how_to_go_on(study: str, same: Mapping[str, Any]) -> str:
    """What is said of a search that was interrupted. ``same``: options that no study keeps."""
    from autokd.study import ledger

    if not (ledger.folder(runs_root(), study) / "events.jsonl").exists():
        return "\ninterrupted before the study had begun"
    options = {"--resume": study, **same}
    words = [str(word) for option, value in options.items() if value for word in (option, value)]
    return f"\ninterrupted; go on with: {shlex.join(['autokd', 'search', *words])}"
