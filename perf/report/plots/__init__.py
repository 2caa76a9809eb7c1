"""The plots of a report, each an inline SVG that follows the page's colours, light or dark."""
