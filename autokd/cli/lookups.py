"""`autokd methods`, `spaces`, `models`, `datasets` and `cache`: what there is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cache import KINDS, budget, contents, default_cache
from autokd.cache import clear as clear_cache
from autokd.cli.options import DataDir, Json
from autokd.errors import UserError
from autokd.files import built_in, kind_of
from autokd.recipe import bounds, data_names, network_names

if TYPE_CHECKING:
    from autokd.recipe import DataSettings


def methods(as_json: Json = False) -> None:
    """List what each axis of distillation offers, and the presets: of distillation, of training
    (`train: {preset: NAME}`) and of augmentation (`augment: {preset: NAME}`).
    """
    from autokd.recipe import axes, training_presets

    rows = [
        {
            "axis": axis,
            "kind": kind,
            "paper": method.paper,
            "summary": method.about,
            "defaults": method.defaults,
        }
        for axis in axes.AXES
        for kind, method in sorted(axes.kinds(axis).items())
    ]
    presets = [
        {"preset": p.name, "paper": p.paper, "summary": p.summary}
        for p in sorted(axes.presets().values(), key=lambda p: p.name)
    ]
    of_training = {
        block: [
            {"preset": name, "source": p.source, "summary": p.summary, "values": p.values}
            for name, p in known.items()
        ]
        for block, known in training_presets.BLOCKS.items()
    }
    if as_json:
        print(json.dumps({"methods": rows, "presets": presets, **of_training}))
        return
    for axis in axes.AXES:
        print(axis)
        for row in rows:
            if row["axis"] == axis:
                print(f"  {row['kind']:18} {row['paper']:18} {row['summary']}")
    print("presets")
    for p in presets:
        print(f"  {p['preset']:18} {p['paper']:18} {p['summary']}")
    for block, own in of_training.items():
        print(f"presets of {block}")
        for about in own:
            print(f"  {about['preset']:18} {about['summary']}\n{'':21}{about['source']}")


def spaces(as_json: Json = False) -> None:
    """List the search spaces and pipelines that come with AutoKD: their names stand for their
    files.
    """
    rows: list[dict[str, str]] = []
    for name, file in built_in().items():
        with file.open(encoding="utf-8") as f:
            about = f.readline().lstrip("# ").strip()
        rows.append({"name": name, "kind": kind_of(file), "about": about, "file": str(file)})
    if as_json:
        print(json.dumps(rows))
        return
    for kind, use in (
        ("search_spaces", "autokd search --space NAME"),
        ("pipelines", "autokd train NAME"),
    ):
        print(f"{kind.replace('_', ' ')}: {use}")
        for row in rows:
            if row["kind"] == kind:
                print(f"  {row['name']:34} {row['about']}")


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Networks to build and measure, for example resnet20 timm:resnet18."),
    ] = None,
    resolution: Annotated[
        int, typer.Option(metavar="N", min=4, max=bounds.SIDE, help="Pixels a side.")
    ] = 32,
    classes: Annotated[
        int, typer.Option(metavar="N", min=2, max=bounds.CLASSES, help="How many.")
    ] = 100,
    channels: Annotated[
        int, typer.Option(metavar="N", min=1, max=bounds.CHANNELS, help="3 for colour, 1 for grey.")
    ] = 3,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, max=bounds.THREADS, help="CPU threads.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """List the networks that a recipe may name; with NAMES, measure those: parameters, FLOPs,
    milliseconds a batch on each device here.
    """
    if not names:
        _list_models(as_json)
        return
    if unknown := [problem for name in names if (problem := network_names.problem(name))]:
        raise UserError("\n".join(unknown))
    import torch

    torch.set_num_threads(threads)
    measured = {}
    for name in names:
        measured[name] = _measure(name, classes, channels, resolution)
        if not as_json:
            print(_measured_line(name, measured[name]))
    if as_json:
        print(json.dumps(measured))


def _list_models(as_json: bool) -> None:
    rows = {name: network_names.describe(name) for name in network_names.names()}
    if as_json:
        print(json.dumps(rows))
        return
    for name, about in rows.items():
        print(f"{name:18} {about}")
    print("also: cnn-DEPTHxWIDTH, torchvision:NAME, timm:NAME")


def _measure(name: str, classes: int, channels: int, resolution: int) -> dict[str, Any]:
    """Parameters, FLOPs a picture and milliseconds a batch of a network with fresh weights."""
    from autokd.networks import build, measure, speed

    try:
        network = build(name, classes=classes, channels=channels, resolution=resolution, seed=0)
    except ValueError as e:
        raise UserError(str(e)) from None
    size = measure(network, channels, resolution)
    return size | {"latency_ms": speed(network, channels, resolution)}


def _measured_line(name: str, measured: dict[str, Any]) -> str:
    times = "  ".join(
        f"{device}, batch {batch}: {ms:.3g} ms"
        for device, by_batch in measured["latency_ms"].items()
        for batch, ms in by_batch.items()
    )
    return (
        f"{name:18} {measured['params']:12,} parameters {measured['flops']:16,} FLOPs a picture "
        f" {times}"
    )


def datasets(
    name: Annotated[
        str | None,
        typer.Argument(help="A set to fetch and pack now; folder:PATH for one of your own."),
    ] = None,
    resolution: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=4,
            max=bounds.SIDE,
            help="The largest resolution it will be used at: decides how large pictures are kept.",
        ),
    ] = 32,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Pictures without labels to add, as data/unlabelled has them."
        ),
    ] = None,
    data_dir: DataDir = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out files that are no pictures, rather than stop.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte of the pack again.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on where the pack will exceed 20 GB.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the data sets that a recipe may name; with NAME, fetch and pack that one, and say what
    is in it.
    """
    if name is None:
        _list_datasets(as_json)
        return
    settings = _data_settings(name, resolution, skip, unlabelled)
    from autokd import data

    pack = data.pack(settings, large=True if yes else None)
    if verify:
        data.verify(settings)
    about = pack.about() | ({"verified": True} if verify else {})
    about |= {"note": "; ".join(told)} if (told := data.notes(settings)) else {}
    if as_json:
        print(json.dumps(about))
    else:
        print("\n".join(f"{key:12} {value}" for key, value in about.items()))


def _list_datasets(as_json: bool) -> None:
    rows = {known: data_names.SOURCES[known].summary for known in data_names.names()}
    rows[data_names.PATTERN] = (
        "a folder of class folders, with or without train/, val/ and test/ above them"
    )
    if as_json:
        print(json.dumps(rows))
        return
    for known, summary in rows.items():
        print(f"{known:18} {summary}")


def _data_settings(name: str, resolution: int, skip: bool, unlabelled: str | None) -> DataSettings:
    from autokd.recipe import parse

    settings = {
        "name": name,
        "resolution": resolution,
        "on_error": "skip" if skip else "stop",
        "unlabelled": unlabelled,
    }
    return parse({"data": settings, "student": {"resolution": resolution}}).data


def cache(
    clear: Annotated[
        list[str] | None,
        typer.Option(
            "--clear", metavar="KIND", help="Delete networks, tables, data, downloads or all."
        ),
    ] = None,
) -> None:
    """Show what is computed once and kept, and clear it."""
    root = default_cache()
    if clear:
        clear_cache(root, list(KINDS) if "all" in clear else clear)
    print(root)
    held = contents(root)
    for kind, (files, size) in held.items():
        print(f"{kind:10} {files:7} files {size / 1e6:10.1f} MB  {KINDS[kind]}")
    megabytes = budget(root, held["tables"][1]) / 1e6
    print(
        f"tables may take {megabytes:,.0f} MB (AUTOKD_CACHE_SIZE; left out: half of what the"
        " disk has for them)"
    )
