"""Runs Python programs that nobody has read, in layers that each hold alone; off unless switched on twice.

    run_program("print(6 * 7)", allowed=True).stdout        "42\\n", with OMNIOPD_RUN_PROGRAMS=1 in the environment

A program is a fresh process without environment, descriptors, sockets, files (but the interpreter's own), children and
signals to others, limited in time, memory and output. It can use a processor until its time is up, run threads, and see
the clock, the machine's size and the kernel's version. Standard library only.
"""

from omniopd.tasks.sandbox.running import Program, ProgramResult, require_sandbox, run_program, run_programs

__all__ = ["Program", "ProgramResult", "require_sandbox", "run_program", "run_programs"]
