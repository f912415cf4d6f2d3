"""The metrics of each task, from arrays. No model and no file is opened here."""
