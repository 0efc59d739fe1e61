"""A run as one HTML file: what was run, what came out, what the numbers mean, and how to do it again.

Curves are drawn in the browser by a script of the page's own from numbers that the page holds, not by Bokeh's: that is
as many lines as it takes to write the panels down for Bokeh, the file stays at some hundred kilobytes in place of
megabytes, text is the page's own text at any width, and what is printed is as sharp as what is read.
"""

from mesodask.figures.report.page import write_report

__all__ = ["write_report"]
