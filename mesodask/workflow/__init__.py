"""A whole analysis from one settings file: what is asked, how a file says it, and the stages that do it."""

from typing import TYPE_CHECKING, Any

from mesodask.workflow.analysis import Analysis
from mesodask.workflow.file import analysis_text, read_analysis
from mesodask.workflow.template import analysis_template

if TYPE_CHECKING:
    from mesodask.workflow.run import AnalysisResult, StageResult, analysis_cost, run_analysis

__all__ = [
    "Analysis",
    "AnalysisResult",
    "StageResult",
    "analysis_cost",
    "analysis_template",
    "analysis_text",
    "read_analysis",
    "run_analysis",
]


def __getattr__(name: str) -> Any:
    """Import what computes when it is first used: to check a file takes none of it."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("mesodask.workflow.run"), name)
    raise AttributeError(f"module 'mesodask.workflow' has no attribute {name!r}")
