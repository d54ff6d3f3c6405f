"""One self-contained HTML file about a recording."""

from calcium_engine.report.write import write_report

__all__ = ["write_report"]
