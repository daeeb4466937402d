"""Where jobs run. One file each, which alone knows its library; `plan.Executor` is all that the engine knows."""
