"""The command line: one thin function a command. Heavy imports stand inside, so that look-ups answer at once.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done; 1 the work ran and its answer is no; 2 the request is
wrong; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autokd import __version__
from autokd.document import DocumentError, UserError

if TYPE_CHECKING:
    from autokd.space import Space

app = typer.Typer(
    name="autokd", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Search for the best way to distil a big vision model into a small one.",
)  # fmt: skip

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value, for example train/epochs=10. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _data_dir(given: Path | None) -> Path | None:
    """``--data-dir`` is ``AUTOKD_DATA`` for this process and all that it starts."""
    if given is not None:
        where = given.expanduser().absolute()
        if where.exists() and not where.is_dir():
            raise UserError(f"--data-dir {given}: this is a file; expected a folder")
        os.environ["AUTOKD_DATA"] = str(where)
    return given


DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", callback=_data_dir, help="Where downloads go, and what is there already is found (default: AUTOKD_DATA, else the cache)."),
]


def main() -> None:
    """The console script: turns what users can mend into one message and an exit code, and never shows them a traceback."""
    try:
        app()
    except UserError as e:
        for problem in e.problems if isinstance(e, DocumentError) else [e]:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `autokd methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(value: bool) -> None:
    if value:
        print(f"autokd {__version__}")
        raise typer.Exit


@app.callback()
def common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    for name in ("AUTOKD_CACHE", "AUTOKD_DATA", "AUTOKD_RUNS"):  # a search's workers stand in folders of their own
        if given := os.environ.get(name):
            os.environ[name] = str(Path(given).expanduser().absolute())


@app.command()
def search(
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    base: Annotated[Path | None, typer.Option(help="A recipe to use in place of the space's own base.")] = None,
    sets: Sets = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials.")] = None,
    time: Annotated[str | None, typer.Option(help="Start no new trial after so long: 90s, 30m, 2h.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trials side by side (default: one a GPU, else one a CPU).")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the sampler, nothing else.")] = 0,
    name: Annotated[str | None, typer.Option(help="The study's name.")] = None,
    extend: Annotated[str | None, typer.Option(metavar="NAME", help="Add --trials N to a finished study.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="NAME", help="Go on with a study that was stopped or killed.")] = None,
    data_dir: DataDir = None,
    ray_address: Annotated[str | None, typer.Option(help="A Ray cluster to use.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, from a short probe, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Json = False,
) -> None:
    """Search for the best recipe; ends by printing its path."""
    from autokd import ledger, progress
    from autokd import space as spaces

    if sum(x is not None for x in (resume or space, extend)) != 1:
        raise UserError("give --space FILE to begin a search, --resume NAME to go on with one, or --extend NAME --trials N to add to one")
    if extend and not trials:
        raise UserError("--extend NAME needs --trials N: how many more")
    fixed = {"--jobs": jobs, "--seed": seed, "--trials": None if extend else trials} | ({} if space else {"--base": base, "--set": sets, "--time": time})
    if (resume or extend) and (told := [option for option, value in fixed.items() if value]):
        raise UserError(f"{', '.join(told)}: a study goes on as it was begun; when it is finished, --extend NAME --trials N adds trials")
    changes = tuple(sets or ())
    if time:
        changes += (f"search/time={_seconds(time)}",)
    loaded = spaces.load(space, base, changes) if space else None  # before anything slow: a mistake is told at once
    from autokd import search as searches

    if dry_run:
        _plan(loaded, trials, jobs, ray_address, as_json)
        return
    view, how = progress.View(quiet=quiet), {"uri": tracking_uri, "address": ray_address}
    chosen = resume or extend or name or searches.next_name(space.stem if space else "search")
    try:
        if extend and trials:
            outcome = searches.extend(chosen, trials, view=view, **how)
        elif resume:
            outcome = searches.resume(chosen, loaded, view=view, **how)
        else:
            assert loaded is not None
            outcome = searches.start(loaded, name=chosen, seed=seed, jobs=jobs, trials=trials, view=view, **how)
    except KeyboardInterrupt:
        same = {"--resume": chosen, "--data-dir": data_dir, "--ray-address": ray_address, "--tracking-uri": tracking_uri}
        words = [str(word) for option, value in same.items() if value for word in (option, value)]
        if not (ledger.folder(ledger.root(), chosen) / "events.jsonl").exists():
            print("\ninterrupted before the study had begun", file=sys.stderr)
            raise typer.Exit(130) from None
        print(f"\ninterrupted; go on with: {shlex.join(['autokd', 'search', *words])}", file=sys.stderr)
        raise typer.Exit(130) from None
    from autokd import summary

    print(json.dumps(summary.as_json(outcome)) if as_json else summary.as_text(outcome))
    raise typer.Exit(0 if any(t.state == "complete" for t in outcome.table.trials.values()) else 1)


def _plan(space: Space | None, trials: int | None, jobs: int | None, address: str | None, as_json: bool) -> None:
    from autokd import plan, search

    if space is None:
        raise UserError("--dry-run plans a new search: give --space FILE")
    search.present(space)
    found = search.room(space, address)
    made = plan.probe(space, plan.plan(space, trials), jobs or found.jobs(space.search.resources.gpu))
    print(json.dumps(plan.as_json(made)) if as_json else plan.text(space, made))


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        return float(text[:-1]) * units[text[-1]]
    except (KeyError, ValueError, IndexError):
        raise UserError(f"--time {text}: expected a number and a unit, such as 90s, 30m or 2h") from None


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: hand-written, exported, or a trial's.")],
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="The folder for student.safetensors, metrics.json and recipe.yaml.")] = Path("out"),
    data_dir: DataDir = None,
    test: Annotated[bool, typer.Option("--test", help="Read the test pictures when the run is over.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Json = False,
) -> None:
    """Train one student from a recipe."""
    from autokd import recipe as recipes

    made = recipes.load(recipe, tuple(sets or ()))
    from autokd import runner

    result = runner.train(made, out, test=test, quiet=quiet)
    if as_json:
        print(json.dumps(result))
    else:
        for metric, value in result["metrics"].items():
            print(f"{metric:24} {value:.6g}")
        print(f"{'student':24} {result['student_sha256'][:16]}")
        print(out / "student.safetensors")


@app.command()
def reproduce(
    recipe: Annotated[Path, typer.Argument(help="An exported recipe, with results; a file, or runs:/ID.")],
    sets: Sets = None,
    data_dir: DataDir = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Train the teachers again too.")] = False,
    seeds: Annotated[int | None, typer.Option(min=2, help="Train so many fresh seeds too, for an interval of this machine.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Json = False,
) -> None:
    """Train an exported recipe again: bit-identical, within noise, or different, and why."""
    from autokd import reproduce as again

    outcome = again.reproduce(recipe, tuple(sets or ()), from_scratch=from_scratch, seeds=seeds or 0, quiet=quiet)
    print(json.dumps(outcome.to_dict()) if as_json else again.as_text(outcome))
    raise typer.Exit(0 if outcome.good else 1)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="A finished study.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make (default: exports/NAME).")] = None,
    data_dir: DataDir = None,
    onnx: Annotated[bool, typer.Option(help="Write student.onnx (needs the extra `onnx`).")] = True,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Scale the logits by a temperature fitted on validation.")] = False,
    as_json: Json = False,
) -> None:
    """Write a study's best student to a folder: recipe, weights, ONNX, labels, loader, model card."""
    from autokd import bundle, ledger

    made = bundle.export(ledger.root(), name, out or Path("exports") / name, onnx=onnx, calibrate=calibrate)
    if as_json:
        print(json.dumps(made))
        return
    if "onnx_difference" in made:
        print(f"ONNX and torch differ by at most {made['onnx_difference']:.1e} on validation pictures", file=sys.stderr)
    print(made["out"])


@app.command()
def predict(
    export: Annotated[Path, typer.Argument(help="A folder that `autokd export` made.")],
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 64,
    top: Annotated[int, typer.Option(min=1, help="How many labels a picture.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, a line a picture.")] = False,
) -> None:
    """Name what pictures show, with probabilities. Unreadable pictures are told on stderr and skipped."""
    from autokd import predict as predictions

    found = False
    for row in predictions.predict(export, pictures, batch=batch, top=top):
        found = True
        print(json.dumps(row, ensure_ascii=False) if as_json else predictions.as_text(row))
    raise typer.Exit(0 if found else 1)


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(help="A recipe.")],
    other: Annotated[Path, typer.Argument(help="Another recipe.")],
    as_json: Json = False,
) -> None:
    """Say in words what differs between two recipes."""
    from autokd import difference
    from autokd import recipe as recipes

    a, b = recipes.load(one), recipes.load(other)
    print(json.dumps(difference.as_json(a, b)) if as_json else difference.as_text(a, b))


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(help="Recipes and search spaces.")]) -> None:
    """Check recipes and spaces; every problem with file, line and path."""
    from autokd import recipe as recipes
    from autokd import space as spaces
    from autokd.document import is_space, read

    problems = []
    for file in files:
        try:
            doc = read(file)
            space = is_space(doc.data)
            made = spaces.load(doc).base if space else recipes.load(doc)
            print(f"{file}: ok ({'search space' if space else 'recipe'})")
            for path, name in recipes.absent(made).items():
                print(f"{file}: note: {path}: {name} is not there")
        except DocumentError as e:
            problems += e.problems
    if problems:
        raise DocumentError(problems)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A recipe or a search space.")],
    sets: Sets = None,
) -> None:
    """Print a document spelt out, with every default; of a space, its free parameters and baselines."""
    from autokd import recipe as recipes
    from autokd import space as spaces
    from autokd.document import dump, flow, is_space, read

    doc, changes = read(file), tuple(sets or ())
    if not is_space(doc.data):
        made = recipes.load(doc, changes)
        print(f"# fingerprint {made.fingerprint()}")
        print(dump(made.to_dict()), end="")
        return
    space = spaces.load(doc, sets=changes)
    print(dump({"search": space.search.model_dump()}))
    print("free parameters")
    for node in space.leaves():
        kind = getattr(node, "kind", "one_of")
        print(f"  {node.name:44} {kind:12} {flow(node.options)}")
    print("baselines")
    for name, point in space.starting_points():
        print(f"  {name:16} {flow(point.varied)}")
    print("base recipe")
    print("".join(f"  {line}\n" for line in dump(space.base.to_dict()).splitlines()), end="")


@app.command()
def methods(as_json: Json = False) -> None:
    """List what each axis of distillation offers, and the presets."""
    from autokd import axes

    rows = [
        {"axis": axis, "kind": kind, "paper": m.paper, "summary": _first_line(m.fn.__doc__), "defaults": m.defaults}
        for axis in axes.AXES
        for kind, m in sorted(axes.kinds(axis).items())
    ]
    presets = [{"preset": p.name, "paper": p.paper, "summary": p.summary} for p in sorted(axes.presets().values(), key=lambda p: p.name)]
    if as_json:
        print(json.dumps({"methods": rows, "presets": presets}))
        return
    for axis in axes.AXES:
        print(axis)
        for row in rows:
            if row["axis"] == axis:
                print(f"  {row['kind']:18} {row['paper']:18} {row['summary']}")
    print("presets")
    for p in presets:
        print(f"  {p['preset']:18} {p['paper']:18} {p['summary']}")


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0] if doc else ""


@app.command()
def models(
    names: Annotated[list[str] | None, typer.Argument(help="Networks to build and measure, for example resnet20 timm:resnet18.")] = None,
    resolution: Annotated[int, typer.Option(min=4, help="Pixels a side.")] = 32,
    classes: Annotated[int, typer.Option(min=2, help="How many.")] = 100,
    channels: Annotated[int, typer.Option(min=1, help="3 for colour, 1 for grey.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    as_json: Json = False,
) -> None:
    """List the networks that a recipe may name; with NAMES, measure those: parameters, FLOPs, milliseconds a batch on each device here."""
    from autokd import zoo

    if not names:
        rows = {name: zoo.describe(name) for name in zoo.names()}
        print(json.dumps(rows) if as_json else "\n".join(f"{name:18} {about}" for name, about in rows.items()))
        if not as_json:
            print("also: cnn-DEPTHxWIDTH, torchvision:NAME, timm:NAME")
        return
    if unknown := [trouble for name in names if (trouble := zoo.problem(name))]:
        raise UserError("\n".join(unknown))
    import torch

    from autokd import models as networks

    torch.set_num_threads(threads)
    measured = {}
    for name in names:
        try:
            network = networks.build(name, classes=classes, channels=channels, resolution=resolution, seed=0)
        except ValueError as e:
            raise UserError(str(e)) from None
        size, speed = networks.measure(network, channels, resolution), networks.speed(network, channels, resolution)
        measured[name] = size | {"latency_ms": speed}
        if not as_json:
            times = "  ".join(f"{device}, batch {batch}: {ms:.3g} ms" for device, by in speed.items() for batch, ms in by.items())
            print(f"{name:18} {size['params']:12,} parameters {size['flops']:16,} FLOPs a picture  {times}")
    if as_json:
        print(json.dumps(measured))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="A set to fetch and pack now; folder:PATH for one of your own.")] = None,
    resolution: Annotated[int, typer.Option(min=4, help="The largest resolution it will be used at: decides how large pictures are kept.")] = 32,
    data_dir: DataDir = None,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out files that are no pictures, rather than stop.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte of the pack again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on where the pack will exceed 20 GB.")] = False,
    as_json: Json = False,
) -> None:
    """List the data sets that a recipe may name; with NAME, fetch and pack that one, and say what is in it."""
    from autokd import sources

    if name is None:
        rows = {known: about.summary for known, about in sources.SOURCES.items()}
        rows[sources.PATTERN] = "a folder of class folders, with or without train/, val/ and test/ above them"
        for known, summary in rows.items():
            print(f"{known:18} {summary}") if not as_json else None
        if as_json:
            print(json.dumps(rows))
        return
    from autokd import recipe as recipes

    spec = recipes.parse({"data": {"name": name, "resolution": resolution, "on_error": "skip" if skip else "stop"}, "student": {"resolution": resolution}}).data
    from autokd import data as packed

    pack = packed.pack(spec, large=True if yes else None)
    if verify:
        packed.verify(spec)
    about = pack.about() | ({"verified": True} if verify else {})
    print(json.dumps(about) if as_json else "\n".join(f"{key:12} {value}" for key, value in about.items()))


@app.command()
def studies(as_json: Json = False) -> None:
    """List the studies under mlruns/."""
    from autokd import ledger

    root, rows = ledger.root(), []
    for name in ledger.names(root):
        try:
            _, table = ledger.read(ledger.folder(root, name))
        except UserError as e:
            print(f"warning: {e}", file=sys.stderr)
            continue
        state = "finished" if table.closed else "confirming" if table.finalists is not None else "searching or stopped"
        trials = table.trials.values()
        rows.append({"study": name, "state": state, "trials": sum(t.searching for t in trials), "epochs": sum(t.epochs for t in trials)})
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no studies under {root}")
    for row in [] if as_json else rows:
        print(f"{row['study']:30} {row['state']:22} {row['trials']:4} trials {row['epochs']:7} epochs")


@app.command()
def schema(what: Annotated[str, typer.Argument(help="recipe or space")] = "recipe") -> None:
    """Print the JSON schema of recipes or spaces, for editors that complete YAML."""
    from autokd import schemas

    print(json.dumps(schemas.schema(what), indent=2))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="The study's name (see `autokd studies`).")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it (default: report.html in the study's folder).")] = None,
) -> None:
    """Write a study's answer, tables and charts as one HTML file that needs no network; prints its path."""
    from autokd import ledger

    folder = ledger.existing(ledger.root(), name)
    from autokd import report as reports

    try:
        print(reports.write(folder, out))
    except OSError as e:
        raise UserError(f"--out {out or folder}: cannot be written: {e.strerror}") from None


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 0,
    tracking_uri: Annotated[str | None, typer.Option(help="Another store than mlruns/mlflow.db.")] = None,
) -> None:
    """Open MLflow's UI on this store, on 127.0.0.1."""
    from autokd import runner

    raise typer.Exit(runner.ui(port, tracking_uri))


@app.command()
def sync(names: Annotated[list[str] | None, typer.Argument(help="Studies (default: all).")] = None, tracking_uri: str | None = None) -> None:
    """Bring MLflow up to what the ledgers say; twice changes nothing."""
    from autokd import ledger, tracking

    root = ledger.root()
    chosen = names or ledger.names(root)
    tracking.sync(root, tracking_uri or tracking.default_uri(root), chosen)
    print(f"{len(chosen)} studies are up to date in MLflow")


@app.command()
def cache(
    clear: Annotated[list[str] | None, typer.Option("--clear", metavar="KIND", help="Delete networks, tables, data, downloads or all.")] = None,
) -> None:
    """Show what is computed once and kept, and clear it."""
    from autokd import cache as caches

    root = caches.default_cache()
    if clear:
        caches.clear(root, list(caches.KINDS) if "all" in clear else clear)
    print(root)
    found = caches.contents(root)
    for kind, (files, size) in found.items():
        print(f"{kind:10} {files:7} files {size / 1e6:10.1f} MB  {caches.KINDS[kind]}")
    budget = caches.budget(root, found["tables"][1])
    print(f"tables may take {budget / 1e6:,.0f} MB (AUTOKD_CACHE_SIZE; left out: half of what the disk has for them)")
