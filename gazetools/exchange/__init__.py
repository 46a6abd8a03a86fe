"""Files of other tools: head boxes read from them, boxes and gaze points written for them."""
