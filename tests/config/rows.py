"""For every setting: to which value the walk changes it, and where the effect must be seen.

A setting without a row fails the walk, so that nobody can add one that is silently ignored.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """How to see that one setting acts."""

    value: Any  # what it is changed to
    seen: str = "lora"  # the field of Observed that must change
    given: dict[str, Any] = field(default_factory=dict)  # what the setting needs beside it, before and after
    families: dict[str, Any] = field(default_factory=dict)  # another value for a family

    def value_for(self, family: str) -> Any:
        return self.families.get(family, self.value)


WITH_SAMPLES = {"samples.every_n_epochs": 1}

ROWS: dict[str, Row] = {
    "data.trigger_words": Row(["mochi", "tag"], "metadata"),
    "data.keep_tokens": Row(3, given={"data.keep_tokens_separator": ""}),
    "data.shuffle_tags": Row(False),
    "data.keep_tokens_separator": Row(""),
    "data.caption_prefix": Row("a photo of"),
    "data.caption_suffix": Row("on film"),
    "data.tag_dropout": Row(0.9),
    "data.wildcards": Row(True),
    "data.caption_dropout": Row(1.0),
    "data.caption_dropout_every_n_epochs": Row(1),
    "data.weighted_captions": Row(True, given={"data.caption_suffix": "(forest:1.5)"}),
    "data.max_tokens": Row(150),
    "data.extra_resolutions": Row([96], "plan"),
    "data.flip": Row(True, given={"run.epochs": 2}),
    "data.random_crop": Row(True, given={"data.enable_buckets": False}),
    "data.loss_mask": Row("alpha"),
    "data.prior_loss_weight": Row(0.0),
    "data.validation_split": Row(0.5, "plan"),
    "data.resolution": Row(96),
    "data.enable_buckets": Row(False),
    "data.bucket_step": Row(32),
    "data.min_bucket_size": Row(64),
    "data.max_bucket_size": Row(64),
    "data.enlarge_pictures": Row(False),
    "adapter.kind": Row("locon", families={"flux": "loha"}),
    "adapter.rank": Row(8),
    "adapter.alpha": Row(4.0),
    "adapter.conv_rank": Row(2),
    "adapter.conv_alpha": Row(2.0, given={"adapter.conv_rank": 2}),
    "adapter.lokr_factor": Row(2),
    "adapter.rank_stabilized": Row(True),
    "adapter.dropout": Row(0.5),
    "adapter.rank_dropout": Row(0.5),
    "adapter.module_dropout": Row(0.5),
    "adapter.train_denoiser": Row(False),
    "adapter.layers": Row("attention"),
    "adapter.flux_blocks": Row("double"),
    "adapter.block_ranks": Row({"mid_block": 2}, families={"flux": {"double_blocks.0": 2}}),
    "adapter.block_learning_rates": Row({"mid_block": 0.5}, families={"flux": {"double_blocks.0": 0.5}}),
    "adapter.scale_weight_norms": Row(1e-4),
    "adapter.train_text_encoder": Row(False),
    "optimizer.kind": Row("lion8bit"),  # adamw8bit differs too little on small matrices to be sure to show
    "optimizer.learning_rate": Row(2e-3),
    "optimizer.text_encoder_learning_rate": Row(2e-3),
    "optimizer.loraplus_ratio": Row(16.0),
    "optimizer.weight_decay": Row(0.5),
    "optimizer.max_grad_norm": Row(0.001),
    "optimizer.lr_scheduler": Row("cosine"),
    "optimizer.warmup_ratio": Row(0.5),
    "optimizer.custom_class": Row(
        "torch.optim.SGD", given={"optimizer.kind": "custom", "optimizer.custom_class": "torch.optim.AdamW"}
    ),
    "optimizer.arguments": Row({"eps": 0.1}),
    "optimizer.cycles": Row(3, given={"optimizer.lr_scheduler": "cosine_with_restarts", "run.epochs": 2}),
    "optimizer.power": Row(3.0, given={"optimizer.lr_scheduler": "polynomial", "run.epochs": 2}),
    "optimizer.min_ratio": Row(0.9, given={"optimizer.lr_scheduler": "rex", "run.epochs": 2}),
    "optimizer.timescale": Row(1, given={"optimizer.lr_scheduler": "inverse_sqrt", "run.epochs": 2}),
    "optimizer.decay_ratio": Row(0.9, given={"optimizer.lr_scheduler": "warmup_stable_decay", "run.epochs": 2}),
    "optimizer.step_rules": Row("0.1:0.5, 1", given={"optimizer.lr_scheduler": "piecewise_constant", "run.epochs": 2}),
    "optimizer.ema_decay": Row(0.9),
    "noise.offset": Row(0.5),
    "noise.adaptive": Row(0.9),
    "noise.offset_random": Row(True, given={"noise.offset": 0.5}),
    "noise.multires_iterations": Row(4),
    "noise.multires_discount": Row(0.9, given={"noise.multires_iterations": 4}),
    "noise.input_perturbation": Row(0.5),
    "noise.input_perturbation_random": Row(True, given={"noise.input_perturbation": 0.5}),
    "noise.min_timestep": Row(900),
    "noise.max_timestep": Row(100),
    "loss.kind": Row("l1"),
    "loss.huber_schedule": Row("constant", given={"loss.kind": "huber"}),
    "loss.huber_c": Row(0.9, given={"loss.kind": "huber"}),
    "loss.huber_scale": Row(9.0, given={"loss.kind": "smooth_l1"}),
    "loss.normalize_weighting": Row(True, given={"loss.weighting": "debiased", "optimizer.max_grad_norm": 0.01}),
    "loss.v_like_noise": Row(True, given={"model.prediction": "v"}),
    "loss.v_pred_like": Row(5.0, given={"model.prediction": "epsilon"}),
    "loss.flow_weighting": Row("sigma_sqrt"),
    "loss.weighting": Row("none"),
    "loss.min_snr_gamma": Row(0.1, given={"loss.weighting": "min_snr"}),
    "run.epochs": Row(2),
    "run.batch_size": Row(2, given={"data.enable_buckets": False}),
    "run.gradient_accumulation_steps": Row(2),
    "run.precision": Row("bf16"),
    "run.quantization": Row("nf4"),
    "run.offload": Row(0.5, "model", given={"run.gradient_checkpointing": True}),
    "run.channels_last": Row(True, "model"),
    "run.compile": Row(True, "model"),
    "run.save_precision": Row("fp32"),
    "run.gradient_checkpointing": Row(True, "model"),
    "run.seed": Row(7),
    "run.save_every_n_epochs": Row(2, "files", given={"run.epochs": 3}),
    "run.checkpoint_every_n_minutes": Row(1e-6, "checkpoints"),
    "run.checkpoint_every_n_steps": Row(1, "checkpoints"),
    "run.keep_checkpoints": Row(1, "checkpoints", given={"run.checkpoint_every_n_steps": 1}),
    "run.keep_checkpoint_every_n_steps": Row(2, "files", given={"run.checkpoint_every_n_steps": 1}),
    "samples.prompts": Row(["mochi", "forest"], "pictures", given=WITH_SAMPLES),
    "samples.every_n_epochs": Row(1, "files"),
    "samples.negative_prompt": Row("forest", "pictures", given=WITH_SAMPLES),
    "samples.steps": Row(4, "pictures", given=WITH_SAMPLES),
    "samples.guidance_scale": Row(1.0, "pictures", given=WITH_SAMPLES),
    "samples.guidance_rescale": Row(1.0, "pictures", given=WITH_SAMPLES),
    "samples.sampler": Row("ddim", "pictures", given=WITH_SAMPLES),
    "samples.width": Row(128, "pictures", given=WITH_SAMPLES),
    "samples.height": Row(128, "pictures", given=WITH_SAMPLES),
    "samples.seed": Row(5, "pictures", given=WITH_SAMPLES),
    "model.clip_skip": Row(2),
    "model.prediction": Row("v", families={"sd2": "epsilon"}),
    "model.zero_terminal_snr": Row("on", given={"model.prediction": "v"}),
    "model.crop_conditioning": Row("kohya"),
    "model.guidance": Row(3.5),
    "model.t5_tokens": Row(32),
    "model.t5_attention_mask": Row(True),
    "noise.timestep_sampling": Row("uniform"),
    "noise.timestep_shift": Row(1.5, given={"noise.timestep_sampling": "shift"}),
    "noise.sigmoid_scale": Row(0.3),
    "noise.sigmoid_mean": Row(2.0),
    "noise.mode_scale": Row(0.1, given={"noise.timestep_sampling": "mode"}),
}
BY_HAND = {  # settings that the walk itself is made of, and the test that shows them acting
    "model.family": "each family is walked",
    "data.cache_text": "tests/training/test_conditioning.py",
    "model.base": "each family is walked with its own model",
    "adapter.continue_from": "needs a file: tests/adapters/test_settings.py",
    "run.micro_batch_size": "tests/training/test_loop.py::test_pieces_of_a_batch_give_the_same_lora",
    "run.on_out_of_memory": "tests/training/test_setbacks.py::test_each_thing_that_can_be_given_up_is_given_up_in_turn",
    "run.on_bad_loss": "tests/training/test_setbacks.py::test_a_broken_loss_goes_back_with_half_the_rate",
    "run.mirror": "tests/training/test_mirror.py::test_a_fresh_machine_goes_on_from_the_mirror_alone",
    "model.vae": "tests/models/test_sources.py::test_another_vae_takes_the_place_of_the_models_own",
    "model.other_parts": "tests/models/test_sources.py::test_a_single_flux_file_takes_its_other_parts_from_a_folder",
}
