"""Build a lab: ``python -m omniopd.embedded.make --out FOLDER [--lab ledgers] [--device cuda] [--seed 0]``.

Writes the folders teacher, student and embedding, figures.json, and the figures' table into README.md where the output
folder has one. Most of the time goes into two pre-trainings that run side by side: by their speed alone, some 25
minutes on 2 idle CPU cores. The long lab (ledgers: long-teacher, long-student, long-figures.json) goes on from the
shipped models of the first and has no embedding of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from omniopd.embedded import FOLDER
from omniopd.embedded.figures import Figures, measure
from omniopd.embedded.labs import LABS, PAIR, TEACHER, Plan
from omniopd.embedded.pretrain import new_model, train
from omniopd.embedded.report import write_report
from omniopd.embedded.tokenizer import train_tokenizer
from omniopd.embedded.wordings import mean_encoder, save_embedding, told_apart, train_embedding
from omniopd.errors import OmniOPDError
from omniopd.tasks.stories import make_story, worked_answer

PARTS = ("tokenizer", *PAIR, "embedding", "figures")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
FIRST = LABS["stories"]


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 1 where a promise of the lab is not kept by what was built."""
    parser = argparse.ArgumentParser(prog="python -m omniopd.embedded.make", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that receives teacher, student and embedding")
    parser.add_argument("--lab", choices=LABS, default="stories", help="short stories (the default), or long ledgers")
    parser.add_argument("--device", default="cpu", help="where the models are trained and measured: cpu, cuda, …")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="pre-training batches of each lesson, instead of its own number")
    parser.add_argument("--problems", type=int, default=500, help="test problems behind the figures")
    parser.add_argument("--only", choices=PARTS, help="build this part alone, on what is already in the folder")
    chosen = parser.parse_args(arguments)
    try:
        return make(chosen.out, chosen.device, chosen.seed, chosen.steps, chosen.problems, chosen.only, chosen.lab)
    except OmniOPDError as error:
        print(f"omniopd: {error}", file=sys.stderr)
        return 2


def make(
    out: Path, device: str, seed: int, steps: int | None, problems: int, only: str | None = None, lab: str = "stories"
) -> int:
    """Build `only` one part, or all of them in order: the two models side by side, in a process each."""
    plan = LABS[lab]
    torch.set_num_threads(1)  # the models are small: a second thread costs more than it brings
    out.mkdir(parents=True, exist_ok=True)
    if only in (None, "tokenizer"):
        make_tokenizer(out, seed, plan)
    if only is None:
        settings = ["--out", str(out), "--lab", lab, "--device", device, "--seed", str(seed)]
        settings += [] if steps is None else ["--steps", str(steps)]
        command = [sys.executable, "-m", "omniopd.embedded.make", *settings, "--only"]
        with subprocess.Popen([*command, "teacher"]) as beside:
            subprocess.run([*command, "student"], check=True)
        if beside.returncode:
            raise subprocess.CalledProcessError(beside.returncode, beside.args)
    if only in PAIR:
        make_model(only, out, device, seed, steps, plan)
    if only in (None, "embedding") and not plan.goes_on:
        make_embedding(out, seed)
    if only in (None, "figures"):
        unmet = make_figures(out, device, seed, problems, plan).unmet(plan.promises)
        print(*unmet, sep="\n")
        return int(bool(unmet))
    return 0


def make_tokenizer(out: Path, seed: int, plan: Plan = FIRST) -> None:
    """Train the tokenizer, or take the shipped one, and put it into both models' folders."""
    folders = [out / plan.pupil(name).folder for name in PAIR]
    if plan.goes_on:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for file in TOKENIZER_FILES:
                shutil.copyfile(FOLDER / FIRST.student.folder / file, folder / file)
        return
    rng = random.Random(f"tokenizer/{seed}")
    made = (make_story("train", index, seed) for index in range(3000))
    tokenizer = train_tokenizer(f"{story.question}\n{worked_answer(story, rng)}" for story in made)
    for folder in folders:
        tokenizer.save_pretrained(folder)


def make_model(name: str, out: Path, device: str, seed: int, steps: int | None, plan: Plan = FIRST) -> None:
    """Pre-train the teacher or the student, and write it as a `transformers` folder."""
    pupil, own_seed = plan.pupil(name), 2 * seed + (name != TEACHER)
    tokenizer = _tokenizer(out, pupil.folder)
    if plan.goes_on:
        model = AutoModelForCausalLM.from_pretrained(FOLDER / FIRST.pupil(name).folder)
        model.config.max_position_embeddings = plan.positions
    else:
        model = new_model(pupil.shape, tokenizer, own_seed, plan.positions)
    started = time.monotonic()
    for number, (book, schooling) in enumerate(pupil.lessons):
        schooling = schooling if steps is None else replace(schooling, steps=steps, until=0)
        train(model.to(device), tokenizer, schooling, book, own_seed + 1000 * number)
    model.cpu().save_pretrained(out / pupil.folder)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def make_embedding(out: Path, seed: int, steps: int = 300) -> None:
    """Train the sentence embedding on the student's tokenizer."""
    tokenizer = _tokenizer(out, "student")
    save_embedding(train_embedding(tokenizer, seed, steps), tokenizer, out / "embedding")


def make_figures(out: Path, device: str, seed: int, problems: int, plan: Plan = FIRST) -> Figures:
    """Measure what stands in the folder and write it down."""
    folders = [plan.pupil(name).folder for name in PAIR]
    tokenizer = _tokenizer(out, plan.student.folder)
    teacher, student = (AutoModelForCausalLM.from_pretrained(out / folder).eval().to(device) for folder in folders)
    own = [] if plan.goes_on else ["embedding"]
    figures = measure(
        teacher,
        student,
        tokenizer,
        megabytes={folder: _megabytes(out / folder) for folder in [*folders, *own]},
        told_apart=_told_apart(out, tokenizer, seed) if own else {},
        problems=problems,
        seed=seed,
        plan=plan,
    )
    (out / f"{plan.mark}.json").write_text(json.dumps(figures.as_dict(), indent=2) + "\n", encoding="utf-8")
    write_report(figures, out / "README.md", plan)
    return figures


def _told_apart(out: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> dict[str, float]:
    """How well the embedding in the folder tells a wrong result from another wording, and random vectors do."""
    from sentence_transformers import SentenceTransformer

    embedding = SentenceTransformer(str(out / "embedding"), device="cpu")
    random_vectors = torch.randn(len(tokenizer), 64, generator=torch.Generator().manual_seed(seed))
    return {
        "learnt": told_apart(
            lambda texts: embedding.encode(list(texts), convert_to_tensor=True, normalize_embeddings=True)
        ),
        "random": told_apart(mean_encoder(tokenizer, random_vectors)),
    }


def _tokenizer(out: Path, name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(out / name)


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 2)


if __name__ == "__main__":
    sys.exit(main())
