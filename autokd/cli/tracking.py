"""`autokd ui` and `autokd sync`: MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from autokd.files import runs_root


def ui(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 0,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Another store than mlruns/mlflow.db.")
    ] = None,
) -> None:
    """Open MLflow's UI on this store, on 127.0.0.1."""
    from autokd.tracking import ui

    raise typer.Exit(ui.ui(port, tracking_uri))


def sync(
    names: Annotated[list[str] | None, typer.Argument(help="Studies (default: all).")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Another store than mlruns/mlflow.db.")
    ] = None,
) -> None:
    """Bring MLflow up to what the ledgers say; twice changes nothing."""
    from autokd.study import ledger
    from autokd.tracking.follower import sync as catch_up
    from autokd.tracking.store import default_uri

    root = runs_root()
    chosen = names or ledger.names(root)
    catch_up(root, tracking_uri or default_uri(root), chosen)
    print(f"{len(chosen)} studies are up to date in MLflow")
