"""HTML pages: one frame and style sheet, and charts as inline SVG."""
