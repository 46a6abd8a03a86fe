"""Files of other tools: boxes read from them, boxes and gaze points written for them; gaze as a table."""
