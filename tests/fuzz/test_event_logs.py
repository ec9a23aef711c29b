"""Logs of events that are damaged: what is whole is told, what is not is named, nothing else is lost."""

import json

from lora_nb.training.event_log import EventReader, cut_events, heal, read_events, write_events_to
from lora_nb.training.events import (
    CheckpointSaved,
    ImageSampled,
    LoraSaved,
    Preparing,
    ProblemFound,
    RunFailed,
    RunFinished,
    RunStarted,
    StepDone,
)
from lora_nb.training.watching import run_state
from tests.fuzz.contract import attempt, run_cases
from tests.fuzz.spoiling import damage, odd_text, odd_value


def test_of_a_damaged_log_the_rest_is_told(tmp_path):
    def case(chance, folder):
        path, events = written(chance, folder)
        lines = path.read_bytes().splitlines(keepends=True)
        number = chance.randrange(len(lines))
        broken = damage(chance, lines[number]).replace(b"\n", b"") + b"\n"
        path.write_bytes(b"".join([*lines[:number], broken, *lines[number + 1 :]]))
        told = attempt(lambda: list(read_events(path)), untouched=folder).result
        assert told[:number] == events[:number] and told[number + 1 :] == events[number + 1 :]
        if told[number] != events[number]:
            assert isinstance(told[number], ProblemFound) and f"line {number + 1}" in told[number].where
        attempt(lambda: run_state(folder), untouched=folder)
        return "error" if told[number] != events[number] else "result"

    run_cases("damaged lines", 200, case, tmp_path)


def test_no_log_is_too_strange_to_be_read_healed_and_cut(tmp_path):
    def case(chance, folder):
        path, events = written(chance, folder)
        content = path.read_bytes()
        foreign = json.dumps({"event": chance.choice(["step_done", "x", None, []]), "step": odd_value(chance)}).encode()
        spoiled = chance.choice(
            [damage(chance, content), foreign + b"\n" + content, b"[" * 50_000 + b"\n" + content, b""]
        )
        path.write_bytes(spoiled)
        reader = EventReader(path)
        told = attempt(reader.read, untouched=folder).result
        known = {str(event) for event in events}
        assert all(str(event) in known or isinstance(event, ProblemFound) for event in told)
        attempt(lambda: run_state(folder), untouched=folder)
        attempt(lambda: heal(path))
        assert list(read_events(path)) == told
        attempt(lambda: cut_events(path, chance.randrange(len(spoiled) + 9), lambda event: False))
        attempt(lambda: write_events_to(path)(events[0]))
        assert list(read_events(path))[-1] == events[0]
        return "result"

    run_cases("logs", 150, case, tmp_path)


def test_a_flipped_bit_is_never_told_as_an_event(tmp_path):
    write_events_to(tmp_path / "events.jsonl")(StepDone(1, 1, 0.25, 0.5, 1e-4, 1.0, 2.5, {"lora_unet": 1e-4}))
    whole = (tmp_path / "events.jsonl").read_bytes()
    (true,) = read_events(tmp_path / "events.jsonl")
    for place in range(len(whole) - 1):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            (tmp_path / "events.jsonl").write_bytes(broken)
            assert all(
                event == true or isinstance(event, ProblemFound) for event in read_events(tmp_path / "events.jsonl")
            )


def test_a_name_that_is_no_text_is_written_and_read(tmp_path):
    write = write_events_to(tmp_path / "events.jsonl")
    write(RunFailed(3, "OSError", "no room for a\udcff.png", "…"))
    (event,) = read_events(tmp_path / "events.jsonl")
    assert event.message == "no room for a\udcff.png"


def written(chance, folder):
    """A run's events, as they are written and as they should be read."""
    loss = chance.choice([0.25, 1e-30, 12345.678, float("inf")])
    events = [
        Preparing("model"),
        RunStarted("run1", 10, 2, 5, 5, "cpu", "fp32"),
        ProblemFound("3_cat/a.png", odd_text(chance), odd_text(chance), "warning"),
        *[StepDone(n, 1, loss, loss, 1e-4, 1.0, n / 7, {"lora_unet": 1e-4}) for n in range(1, chance.randrange(2, 6))],
        LoraSaved(5, 1, str(folder / "loras" / "a.safetensors")),
        ImageSampled(5, 1, odd_text(chance), str(folder / "samples" / "a.png")),
        CheckpointSaved(5, 1, str(folder / "checkpoints" / "step-00000005"), 123, 0.1),
        RunFailed(5, "Crash", odd_text(chance), odd_text(chance)),
        RunFinished("stopped", 3.5, {"torch": "2"}),
    ]
    write = write_events_to(folder / "events.jsonl")
    for event in events:
        write(event)
    return folder / "events.jsonl", events
