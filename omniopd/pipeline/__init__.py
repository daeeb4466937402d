"""From a recipe to a run: names become objects, a method becomes a trainer, a trainer becomes a run."""
