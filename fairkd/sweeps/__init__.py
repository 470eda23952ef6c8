"""Many experiments side by side: a grid or a search, on this machine or a cluster, with one report."""

from fairkd.sweeps.execute import Question, ask, check_engine, plan_grid, run, sweep
from fairkd.sweeps.results import Results, choose, make_results
from fairkd.sweeps.scheduler import Event, Scheduler

__all__ = [
    "Event",
    "Question",
    "Results",
    "Scheduler",
    "ask",
    "check_engine",
    "choose",
    "make_results",
    "plan_grid",
    "run",
    "sweep",
]
