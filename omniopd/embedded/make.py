"""Build the lab from nothing: ``python -m omniopd.embedded.make --out FOLDER [--device cuda] [--seed 0]``.

Writes the folders teacher, student and embedding, figures.json, and the figures' table into README.md where the output
folder has one. Most of the time goes into two pre-trainings that run side by side: by their speed alone, some 25
minutes on 2 idle CPU cores.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from omniopd.embedded.figures import Figures, measure
from omniopd.embedded.pretrain import FORGETS, STUDENT, TEACHER, Schooling, new_model, train
from omniopd.embedded.report import write_report
from omniopd.embedded.tokenizer import train_tokenizer
from omniopd.embedded.wordings import mean_encoder, save_embedding, told_apart, train_embedding
from omniopd.errors import OmniOPDError
from omniopd.tasks.stories import make_story, worked_answer

PAIR = ("teacher", "student")
PARTS = ("tokenizer", "teacher", "student", "embedding", "figures")
STEPS = {"teacher": 4000, "student": 2400}


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 1 where a promise of the lab is not kept by what was built."""
    parser = argparse.ArgumentParser(prog="python -m omniopd.embedded.make", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that receives teacher, student and embedding")
    parser.add_argument("--device", default="cpu", help="where the models are trained and measured: cpu, cuda, …")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help=f"pre-training batches of each model, instead of {STEPS}")
    parser.add_argument("--problems", type=int, default=500, help="test problems behind the figures")
    parser.add_argument("--only", choices=PARTS, help="build this part alone, on what is already in the folder")
    chosen = parser.parse_args(arguments)
    try:
        return make(chosen.out, chosen.device, chosen.seed, chosen.steps, chosen.problems, chosen.only)
    except OmniOPDError as error:
        print(f"omniopd: {error}", file=sys.stderr)
        return 2


def make(out: Path, device: str, seed: int, steps: int | None, problems: int, only: str | None = None) -> int:
    """Build `only` one part, or all of them in order: the two models side by side, in a process each."""
    torch.set_num_threads(1)  # the models are small: a second thread costs more than it brings
    out.mkdir(parents=True, exist_ok=True)
    if only in (None, "tokenizer"):
        make_tokenizer(out, seed)
    if only is None:
        settings = ["--out", str(out), "--device", device, "--seed", str(seed)]
        settings += [] if steps is None else ["--steps", str(steps)]
        command = [sys.executable, "-m", "omniopd.embedded.make", *settings, "--only"]
        with subprocess.Popen([*command, "teacher"]) as beside:
            subprocess.run([*command, "student"], check=True)
        if beside.returncode:
            raise subprocess.CalledProcessError(beside.returncode, beside.args)
    if only in PAIR:
        make_model(only, out, device, seed, steps or STEPS[only])
    if only in (None, "embedding"):
        make_embedding(out, seed)
    if only in (None, "figures"):
        unmet = make_figures(out, device, seed, problems).unmet()
        print(*unmet, sep="\n")
        return int(bool(unmet))
    return 0


def make_tokenizer(out: Path, seed: int) -> None:
    """Train the tokenizer and put it into both models' folders."""
    rng = random.Random(f"tokenizer/{seed}")
    made = (make_story("train", index, seed) for index in range(3000))
    tokenizer = train_tokenizer(f"{story.question}\n{worked_answer(story, rng)}" for story in made)
    for name in PAIR:
        tokenizer.save_pretrained(out / name)


def make_model(name: str, out: Path, device: str, seed: int, steps: int) -> None:
    """Pre-train the teacher or the student, and write it as a `transformers` folder."""
    tokenizer = _tokenizer(out, name)
    shape, forgets, offset = (TEACHER, 0.0, 0) if name == "teacher" else (STUDENT, FORGETS, 1)
    model = new_model(shape, tokenizer, seed=2 * seed + offset).to(device)
    started = time.monotonic()
    train(model, tokenizer, Schooling(steps), forgets, seed=2 * seed + offset)
    model.cpu().save_pretrained(out / name)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def make_embedding(out: Path, seed: int, steps: int = 300) -> None:
    """Train the sentence embedding on the student's tokenizer."""
    tokenizer = _tokenizer(out, "student")
    save_embedding(train_embedding(tokenizer, seed, steps), tokenizer, out / "embedding")


def make_figures(out: Path, device: str, seed: int, problems: int) -> Figures:
    """Measure what stands in the folder and write it down."""
    from sentence_transformers import SentenceTransformer

    tokenizer = _tokenizer(out, "student")
    teacher, student = (AutoModelForCausalLM.from_pretrained(out / name).eval().to(device) for name in PAIR)
    embedding = SentenceTransformer(str(out / "embedding"), device="cpu")
    random_vectors = torch.randn(len(tokenizer), 64, generator=torch.Generator().manual_seed(seed))
    figures = measure(
        teacher,
        student,
        tokenizer,
        megabytes={name: _megabytes(out / name) for name in ("teacher", "student", "embedding")},
        told_apart={
            "learnt": told_apart(
                lambda texts: embedding.encode(list(texts), convert_to_tensor=True, normalize_embeddings=True)
            ),
            "random": told_apart(mean_encoder(tokenizer, random_vectors)),
        },
        problems=problems,
        seed=seed,
    )
    (out / "figures.json").write_text(json.dumps(figures.as_dict(), indent=2) + "\n", encoding="utf-8")
    write_report(figures, out / "README.md")
    return figures


def _tokenizer(out: Path, name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(out / name)


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 2)


if __name__ == "__main__":
    sys.exit(main())
