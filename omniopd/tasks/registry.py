"""Every task by its name in a recipe, with the module whose `build(settings)` makes it: a new one is a file and a line.

Recipes (`task.name`), their help and `build.py` read this table. It imports nothing, so that `config` may read it.
"""

TASKS = {
    "stories": "omniopd.tasks.stories",
    "ledgers": "omniopd.tasks.ledgers",
    "gsm8k": "omniopd.tasks.gsm8k",
    "jsonl": "omniopd.tasks.jsonl",
    "math": "omniopd.tasks.math",
    "code": "omniopd.tasks.code",
}
