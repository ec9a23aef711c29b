"""What does each knob of memory and speed do? `python -m benchmarks.ratios`

Trains a full-size Stable Diffusion 1.5 with random weights at 256 px, batch 1, a LoRA on the U-Net, in a process of its
own for each row, all in one go. Every figure is divided by that of the first row: below 1 is less memory or time.
Takes about 10 minutes on two cores, 8 GiB of memory and 4 GiB of disk.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.whole_run import find_or_write, make_project, measure

ROWS: dict[str, dict[str, Any]] = {
    "plain, pictures not cached yet": {},
    "the same again, pictures and captions cached": {},
    "captions read at every step": {"data.cache_text": "never"},
    "gradient checkpointing": {"run.gradient_checkpointing": True},
    "8-bit AdamW": {"optimizer.kind": "adamw8bit"},
    "channels last": {"run.channels_last": True},
    "compiled": {"run.compile": True},
    "bf16": {"run.precision": "bf16"},
    "base model in int8": {"run.quantization": "int8"},
    "base model in nf4": {"run.quantization": "nf4"},
}


def main() -> None:
    print("| run | peak memory | a step | start to first step |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        project = make_project("sd1", Path(folder) / "mochi", find_or_write("sd1"))
        for number, (name, changes) in enumerate(ROWS.items()):
            figures = measure(project, f"run{number}", changes)
            if number == 0:
                first = figures
                cells = [f"{first.peak:.2f} GiB", f"{first.step:.2f} s", f"{first.first:.1f} s"]
            else:
                pairs = ((figures.peak, first.peak), (figures.step, first.step), (figures.first, first.first))
                cells = [f"{value / base:.2f}" for value, base in pairs]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
