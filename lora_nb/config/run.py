"""Settings of the run: length, memory, what to keep."""

from typing import Literal

from lora_nb.config.base import Section, setting


class RunConfig(Section):
    """How long to train, with how much memory, and what to keep."""

    epochs: int = setting(
        10,
        "Epochs",
        "How often the whole dataset is gone through. A LoRA is saved after each, so that the best can be chosen.",
        kohya="epoch",
        ge=1,
        le=1000,
    )
    batch_size: int = setting(
        2, "Batch size", "Pictures per step. More needs more memory.", kohya="train_batch_size", ge=1, le=256
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Gradient accumulation",
        "Batches added up before one step is taken: a larger batch without more memory, but slower.",
        kohya="gradient_accumulation_steps",
        advanced=True,
        ge=1,
        le=256,
    )
    micro_batch_size: int = setting(
        0,
        "Pictures at once",
        "A batch is worked through in pieces of so many pictures, whose gradients are added up: less memory, slower, "
        "the same steps and the same LoRA. 0 takes the whole batch at once.",
        kohya="(none)",
        advanced=True,
        ge=0,
        le=256,
    )
    precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp32",
        "Precision",
        "fp16 on a T4, bf16 on an A100 or newer, fp32 on a machine without GPU.",
        kohya="mixed_precision",
    )
    quantization: Literal["none", "int8", "nf4"] = setting(
        "none",
        "Base model in fewer bits",
        "Keeps the base model's linear layers in 8 bits (int8) or 4 bits (nf4), those of Flux's T5 included; the LoRA "
        "stays fine, and its file is as ever. Flux in nf4 fits a card of 16 GB; a U-Net gains little, because its "
        "convolutions stay. Each step is slower, and nf4 learns on a coarser model: take none where memory allows it. "
        "Needs bitsandbytes.",
        not_for={
            "locon": "its convolutions cannot be put beside a model in fewer bits.",
            "loha": "peft can only put LoRA and DoRA beside a model in fewer bits.",
            "lokr": "peft can only put LoRA and DoRA beside a model in fewer bits.",
        },
    )
    offload: float = setting(
        0.0,
        "Share of the blocks in main memory",
        "These blocks' weights wait in main memory, and come to the GPU only while they compute: 0.5 frees 10 GB of "
        "Flux's 22, and each step is slower by the copying. Nothing else changes: the LoRA is the same. For a card of "
        "16 GB beside at least 32 GB of main memory; with less, use nf4: alone, or with this for a card of 8 GB. Needs "
        "gradient checkpointing. 0 turns it off.",
        kohya="blocks_to_swap",
        advanced=True,
        not_for=dict.fromkeys(
            ("sd1", "sd2", "sdxl"),
            "A U-Net's weights are small beside what it must remember of the pictures, which gradient checkpointing "
            "frees.",
        )
        | {"dora": "DoRA measures the whole weights of every layer in every step, on the GPU."},
        ge=0,
        le=1,
    )
    save_precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp16",
        "Precision of the file",
        "fp16 is half the size and every program reads it.",
        kohya="save_precision",
    )
    gradient_checkpointing: bool = setting(
        False,
        "Gradient checkpointing",
        "Forgets what it has computed and computes it again: less memory, about a quarter slower. Turn it on when "
        "memory is short.",
        kohya="gradient_checkpointing",
    )
    channels_last: bool = setting(
        False,
        "Channels last",
        "Lays the numbers of a convolution's pictures side by side, place by place: the order that GPUs with tensor "
        "cores like in fp16 and bf16. The LoRA is the same.",
        kohya="(none)",
        advanced=True,
        not_for={"flux": "it is a transformer, which has no convolutions."},
    )
    compile: bool = setting(
        False,
        "Compile the model",
        "Turns the model's blocks into machine code for this very computer (torch.compile). That takes minutes before "
        "the first step, and again for the first picture shapes that are new: it pays in long trainings only. "
        "Needs a C++ compiler, on a GPU also Triton. The LoRA is the same.",
        kohya="torch_compile",
        advanced=True,
    )
    seed: int = setting(42, "Seed", "The same seed gives the same LoRA.", kohya="seed", ge=0, le=2**32 - 1)
    save_every_n_epochs: int = setting(
        1,
        "Save every n epochs",
        "How often a LoRA file is written.",
        kohya="save_every_n_epochs",
        ge=1,
        le=1000,
    )
    checkpoint_every_n_minutes: float = setting(
        5.0,
        "Checkpoint every n minutes",
        "How often everything is saved that the run needs to go on exactly where it was, after a crash or when it was "
        "stopped. A power cut costs at most these minutes; a checkpoint is about twice to three times as large as the "
        "LoRA in fp32, and takes a second or two. 0 turns it off: the run then goes on only if it was stopped or "
        "paused.",
        kohya="(none)",
        advanced=True,
        ge=0,
        le=1440,
    )
    checkpoint_every_n_steps: int = setting(
        0,
        "Checkpoint every n steps",
        "The same, counted in steps, beside the one by the clock. 0 turns it off.",
        kohya="(none)",
        advanced=True,
        ge=0,
        le=100_000,
    )
    mirror: str = setting(
        "",
        "Copies go to",
        "A folder on another disk, to which LoRAs, checkpoints and pictures are copied while the run trains, so that "
        "another machine can go on if this one is lost: lora-nb restore. On Colab, mount Drive and write "
        "/content/drive/MyDrive/lora_mirror. Copying is done beside the training, and a disk that is lost for a while "
        "is tried again. The base model is not copied. Leave it empty if the project is on such a disk itself.",
        kohya="(none)",
    )
    keep_checkpoints: int = setting(
        2,
        "Checkpoints to keep",
        "How many of the last checkpoints stay on disk while a run is not finished. Two, so that one that was damaged "
        "does not matter. Once a run is finished, they go.",
        kohya="(none)",
        advanced=True,
        ge=1,
        le=100,
    )
    keep_checkpoint_every_n_steps: int = setting(
        0,
        "Keep a checkpoint every n steps",
        "Of every n steps, the first checkpoint stays beside the last ones, and after the end: its lora.safetensors "
        "can be trained further with adapter.continue_from. 0 keeps only the last ones.",
        kohya="(none)",
        advanced=True,
        ge=0,
        le=100_000,
    )
    on_out_of_memory: Literal["stop", "slower", "coarser"] = setting(
        "stop",
        "When memory runs out",
        "stop: the run ends and says what to change. slower: it takes fewer pictures at once, then gradient "
        "checkpointing, and goes on from its last step; the LoRA is the same. coarser: if that is not enough, the "
        "optimizer's memory goes to 8 bits and the base model to 8, then 4; the LoRA is about as good. Each change is "
        "told. With several GPUs it always stops.",
        kohya="(none)",
        advanced=True,
    )
    on_bad_loss: Literal["stop", "lower_rate"] = setting(
        "stop",
        "When the loss breaks",
        "A loss or a gradient that is infinite or no number would spoil the LoRA, so that step is never taken. stop: "
        "the run ends and names the pictures. lower_rate: it goes back to its last checkpoint, and on with half the "
        "learning rate, at most four times. (In fp16, gradients that overflow are left out, and the loss is scaled "
        "down, whatever is set here.) With several GPUs it always stops.",
        kohya="(none)",
        advanced=True,
    )
