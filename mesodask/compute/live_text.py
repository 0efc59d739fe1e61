"""What the live page says in words and numbers, as HTML; whatever came with an event is escaped."""

import html
import math
import time

from bokeh.palettes import Viridis256

from mesodask.compute.live_runs import LiveRun
from mesodask.percent import whole_percent

# dark to light, without the lightest, which would vanish on white; the same as in the figures
DARK_TO_LIGHT = 0.82
SILENT_FOR = 60.0  # s after which a reader is told that nothing is heard of a driver
GREY, RULE = "#666666", "#dddddd"
BLUE, PALE, GREEN, RED = "#33608c", "#9db8d2", "#2f7d5b", "#b5432a"
STATES = {"running": BLUE, "finished": GREEN, "failed": RED, "stopped": GREY}
MAX_LETTERS = 300  # of an error
SMALL = f"color:{GREY};font-size:12px"


def line_colors(n_lines: int) -> list[str]:
    """Colours of curves in their order, dark to light.

    Examples
    --------
    >>> line_colors(2)
    ['#440154', '#86D449']
    """
    step = DARK_TO_LIGHT * (len(Viridis256) - 1) / max(n_lines - 1, 1)
    return [Viridis256[round(number * step)] for number in range(n_lines)]


def head_html(run: LiveRun, n_workers: int, now: float) -> str:
    """Write what stands above the curves: which run, how far it is, and which colour is which line."""
    return (
        f'<h2 style="margin:4px 0 2px 0;font-size:20px">{html.escape(run.title)} {_badge(run)}</h2>'
        f'<div style="color:{GREY};margin-bottom:10px">{html.escape(run.about)}</div>'
        f"{_bar(run)}{_numbers(run, n_workers, now)}{_warnings(run, n_workers, now)}{_legend(run)}"
    )


def _badge(run: LiveRun) -> str:
    style = f"background:{STATES.get(run.state, GREY)};color:white;border-radius:4px;padding:2px 8px;font-size:13px"
    return f'<span style="{style};font-weight:normal;vertical-align:2px">{html.escape(run.state)}</span>'


def _bar(run: LiveRun) -> str:
    parts = ((run.before, PALE), (run.done, BLUE), (run.failed, RED))
    pieces = "".join(
        f'<div style="width:{100 * n / run.total:.2f}%;background:{color}"></div>' for n, color in parts if run.total
    )
    style = f"display:flex;height:10px;background:{RULE};border-radius:3px;overflow:hidden;margin-bottom:8px"
    return f'<div style="{style}">{pieces}</div>'


def _numbers(run: LiveRun, n_workers: int, now: float) -> str:
    done = run.before + run.done
    before = f", {count(run.before)} of them before" if run.before else ""
    facts = [("done", f"{count(done)} of {count(run.total)} scores ({whole_percent(done, run.total)} %{before})")]
    if run.state == "running":
        facts.append(("running", f"{count(run.running)} in {_of(run.tasks, 'task')} on {_of(n_workers, 'worker')}"))
    facts.append(("failed", count(run.failed)))
    facts.append(("left", count(run.left)))
    if run.state == "running":
        facts.append(("speed", "-" if math.isnan(run.rate) else f"{count(run.rate)} scores/s"))
        facts.append(("time left", duration(run.seconds_left)))
    facts.append(("time so far" if run.state == "running" else "time taken", duration(run.seconds(now))))
    items = "".join(f'<div><div style="{SMALL}">{name}</div><div>{text}</div></div>' for name, text in facts)
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px 28px;margin-bottom:8px">{items}</div>'


def _warnings(run: LiveRun, n_workers: int, now: float) -> str:
    if run.state != "running":
        return ""
    lines = []
    if not n_workers:
        lines.append("There is no worker at the moment; the run goes on as soon as one comes.")
    if now - run.heard > SILENT_FOR:
        lines.append(f"Nothing was heard of the run's driver for {duration(now - run.heard)}.")
    return "".join(f'<div style="color:{RED};margin-bottom:6px">{line}</div>' for line in lines)


def _legend(run: LiveRun) -> str:
    items = "".join(
        f'<span style="white-space:nowrap;margin-right:16px"><span style="display:inline-block;width:18px;height:4px;'
        f'background:{color};vertical-align:4px;margin-right:5px"></span>{html.escape(name)}</span>'
        for name, color in zip(run.lines, line_colors(len(run.lines)), strict=True)
    )
    return f'<div style="margin-bottom:2px">{items}</div><div style="{SMALL}">{html.escape(run.key)}</div>'


def foot_html(run: LiveRun) -> str:
    """Write what stands below the curves: the last errors, and where the run is."""
    parts = []
    if run.n_failures:
        shown = "".join(
            f'<li style="margin-bottom:3px"><span style="color:{GREY}">{html.escape(where)}</span><br>'
            f'<code style="overflow-wrap:anywhere">{html.escape(_short(error))}</code></li>'
            for where, error in reversed(run.failures)
        )
        parts.append(
            f'<h3 style="margin:10px 0 4px 0;font-size:15px;color:{RED}">{_of(run.n_failures, "task")} failed, the '
            f'last first</h3><ul style="margin:0 0 6px 0;padding-left:20px">{shown}</ul>'
            f'<div style="{SMALL};overflow-wrap:anywhere">Tracebacks: '
            f"{html.escape(run.failures_file)}</div>"
        )
    parts.append(f'<div style="{SMALL};overflow-wrap:anywhere;margin-top:8px">{html.escape(run.path)}</div>')
    return "".join(parts)


def in_list(run: LiveRun) -> str:
    """Name a run where there are several."""
    percent = whole_percent(run.before + run.done, run.total)
    begun = time.strftime("%H:%M", time.localtime(run.begun))
    return f"{run.title} ({run.state}, {percent} %, begun {begun})"


def _short(error: str) -> str:
    return error if len(error) <= MAX_LETTERS else f"{error[:MAX_LETTERS]}..."


def _of(n: int, thing: str) -> str:
    return f"{count(n)} {thing}" if n == 1 else f"{count(n)} {thing}s"


def count(n: float) -> str:
    r"""Write a number of things, its thousands apart.

    Examples
    --------
    >>> count(12.4), count(0.37), count(1234567)
    ('12', '0.4', '1\xa0234\xa0567')
    """
    if 0 < n < 10 and n != int(n):
        return f"{n:.1f}"
    return f"{round(n):,}".replace(",", "\N{NO-BREAK SPACE}")


def duration(seconds: float) -> str:
    """Write a time as a person says it.

    Examples
    --------
    >>> duration(42.4), duration(190), duration(7500), duration(90000), duration(float("nan"))
    ('42 s', '3 min', '2 h 5 min', '25 h 0 min', '-')
    """
    if math.isnan(seconds):
        return "-"
    if seconds < 99.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
