"""What `autokd reproduce` prints."""

from __future__ import annotations

from autokd.export.reproduce import Reproduction


def as_text(found: Reproduction) -> str:
    """The verdict, the values, and what could explain a difference: a line each."""
    lines = [f"{found.verdict}: {_why(found)}"]
    if found.verdict == "not comparable":
        return "\n".join(lines + [f"  {r}" for r in found.reasons] + ["Nothing was trained."])
    here = found.student_here
    here = here[:16] if len(here) == 64 else here  # a hash, or why there is none
    lines.append(f"  student  {found.student_recorded[:16]} recorded, {here} here")
    for name, recorded in found.recorded.items():
        if name in found.here:
            value = found.here[name]
            off = f" ({value - recorded:+.6f})" if value != recorded else ""
            lines.append(f"  {name:16} {recorded:.6f} recorded, {value:.6f} here{off}")
    if found.fresh:
        low, high = found.fresh["interval"]
        shown = "" if low is None else f", 95 % interval of the mean [{low:.4f}, {high:.4f}]"
        mean = found.fresh["mean"]
        lines.append(f"  fresh seeds {found.fresh['seeds']}: {found.metric} {mean:.4f}{shown}")
    if found.reasons:
        lines.append(
            "Not as recorded, though it made no difference:"
            if found.verdict == "bit-identical"
            else "Not as recorded, which could explain it:"
        )
        lines += [f"  {r}" for r in found.reasons]
    elif found.verdict != "bit-identical":
        lines.append(
            "Nothing that is recorded differs here: packages, machine, threads and precision are"
            " the same."
        )
    return "\n".join(lines)


def _why(found: Reproduction) -> str:
    if found.verdict == "not comparable":
        return "what the results stand on is not what it was"
    if found.verdict == "bit-identical":
        return "the student's weights are the recorded ones, so every figure is"
    if found.interval is None:
        return "other weights, and no interval to judge them by"
    low, high = found.interval
    where = (
        f"the 95 % prediction interval [{low:.4f}, {high:.4f}] of {found.metric} over"
        f" {found.interval_of}"
    )
    if found.tested is None:
        return f"the run did not end; {where}"
    value = f"{'the recorded value' if found.fresh else 'the value here'}, {found.tested:.4f},"
    if found.verdict == "different" and found.inside:
        return (
            f"the recipe is not the one whose results these are, though {value} lies inside {where}"
        )
    return f"{value} lies {'inside' if found.inside else 'outside'} {where}"
