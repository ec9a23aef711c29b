"""What a LoRA file says about itself: kohya's ss_* keys and Stability's modelspec, with what was really used.

Web UIs and Civitai read these. A kohya setting that this package does not have is written as kohya writes it when it
is off. The list of keys is that of kohya-ss/sd-scripts 0.10, train_network.py.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lora_nb import __version__
from lora_nb.adapters.files import COMMENT
from lora_nb.adapters.hashes import hash_checkpoint, name_checkpoint, vae_metadata
from lora_nb.config import AdapterConfig, DataConfig, LossConfig, NoiseConfig, OptimizerConfig, TrainConfig
from lora_nb.config.optimizer import optimizer_arguments, optimizer_class
from lora_nb.dataset.final_captions import looks_per_epoch
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.steps import StepPlan
from lora_nb.dataset.tags import split_tags

OFF = {  # what kohya has and this package does not
    "ss_color_aug": "False",
    "ss_face_crop_aug_range": "None",
    "ss_fp8_base": "False",
    "ss_fp8_base_unet": "False",
    "ss_full_fp16": "False",
    "ss_lowram": "False",
    "ss_max_validation_steps": "None",
    "ss_resize_interpolation": "None",
    "ss_sd_scripts_commit_hash": "(unknown)",  # sd-scripts was not used
    "ss_validate_every_n_steps": "None",
}
FAMILIES = {  # ours => kohya's name for it, and Stability's
    "sd1": {"ss_base_model_version": "sd_v1", "architecture": "stable-diffusion-v1"},
    "sd2": {"ss_base_model_version": "sd_v2", "architecture": "stable-diffusion-v2-512"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "architecture": "stable-diffusion-xl-v1-base"},
    "flux": {"ss_base_model_version": "flux1", "architecture": "flux-1-dev"},
}
SCHNELL = {"ss_base_model_version": "flux1", "architecture": "flux-1-schnell"}
TIMESTEP_NAMES = {
    "uniform": "uniform",
    "sigmoid": "sigmoid",
    "shift": "shift",
    "resolution_shift": "flux_shift",
    "mode": "sigma",
}
V_FAMILIES = {  # the same for models that predict v, where that makes a difference
    "sd1": {"ss_base_model_version": "sd_v1_v", "architecture": "stable-diffusion-v1"},
    "sd2": {"ss_base_model_version": "sd_v2_v", "architecture": "stable-diffusion-v2-768-v"},
}
IMPLEMENTATIONS = {  # whose layer names are used
    "sd1": "diffusers",
    "sd2": "diffusers",
    "sdxl": "https://github.com/Stability-AI/generative-models",
    "flux": "https://github.com/black-forest-labs/flux",
}
ALGORITHMS: dict[str, dict[str, str]] = {  # LyCORIS' name of a kind; kohya's own networks.lora has the first two
    "lora": {},
    "locon": {},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr"},
    "dora": {"algo": "lora", "dora_wd": "True"},
}
PRECISION_NAMES = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class RunFacts:
    """What only the run itself knows."""

    output_name: str  # the file's name without .safetensors
    epoch: int  # that was finished, counted from 1
    steps: int  # done so far
    started_at: float  # in seconds since 1970
    finished_at: float
    base_model: str  # what the user called it; of a folder's path only the last part is written
    session_id: int  # any number, the same for all files of one run
    prediction: str = "epsilon"  # what the model really says: "epsilon", "v" or "flow"
    zero_terminal_snr: bool = False
    variant: str = ""  # which model of its family, where they differ
    rank: str = ""  # of the matrices in the file: a number, or "Dynamic"; empty for what the settings say
    alpha: str = ""


def training_metadata(config: TrainConfig, dataset: Dataset, plan: StepPlan, run: RunFacts) -> dict[str, str]:
    """Everything that is written into the LoRA file, as text. Names no folder outside the dataset."""
    values = {
        **_of_run(run),
        **_of_training(config, plan),
        **_of_model(config, run),
        **_of_flux(config, run),
        **_of_adapter(config.adapter, config.optimizer, run),
        **_of_optimizer(config.optimizer, plan.steps, config.adapter),
        **_of_noise_and_loss(config.noise, config.loss),
        **_of_data(config.data),
        **_of_dataset(dataset, plan, config.data),
        **_modelspec(config, run),
    }
    return OFF | {key: str(value) for key, value in values.items()}


def _of_run(run: RunFacts) -> dict[str, Any]:
    short_hash, full_hash = hash_checkpoint(Path(run.base_model).expanduser())
    return {
        "ss_session_id": run.session_id,
        "ss_training_started_at": run.started_at,
        "ss_training_finished_at": run.finished_at,
        "ss_output_name": run.output_name,
        "ss_epoch": run.epoch,
        "ss_steps": run.steps,
        "ss_sd_model_name": name_checkpoint(run.base_model),
        "ss_sd_model_hash": short_hash,
        "ss_new_sd_model_hash": full_hash,
        "ss_training_comment": f"{COMMENT} {__version__}",
    }


def _of_training(config: TrainConfig, plan: StepPlan) -> dict[str, Any]:
    run = config.run
    return {
        "ss_clip_skip": config.model.clip_skip if config.model.clip_skip > 1 else None,
        "ss_mixed_precision": PRECISION_NAMES[run.precision],
        "ss_gradient_checkpointing": run.gradient_checkpointing,
        "ss_gradient_accumulation_steps": run.gradient_accumulation_steps,
        "ss_batch_size_per_device": run.batch_size,
        "ss_total_batch_size": run.batch_size * run.gradient_accumulation_steps * plan.processes,
        "ss_seed": run.seed,
        "ss_validation_seed": run.seed if config.data.validation_split else None,
        "ss_cache_latents": True,
        "ss_num_epochs": plan.epochs,
        "ss_max_train_steps": plan.steps,
        "ss_num_batches_per_epoch": plan.batches_per_epoch,
    }


def _family_facts(config: TrainConfig, run: RunFacts) -> dict[str, str]:
    family = config.model.family
    if run.variant == "schnell":
        return SCHNELL
    return V_FAMILIES.get(family, FAMILIES[family]) if run.prediction == "v" else FAMILIES[family]


def _of_model(config: TrainConfig, run: RunFacts) -> dict[str, Any]:
    return {
        "ss_base_model_version": _family_facts(config, run)["ss_base_model_version"],
        "ss_v2": config.model.family == "sd2",
        "ss_zero_terminal_snr": run.zero_terminal_snr,
        **vae_metadata(config.model.vae),
    }


def _of_flux(config: TrainConfig, run: RunFacts) -> dict[str, Any]:
    """What kohya adds for Flux."""
    if config.model.family != "flux":
        return {}
    scheme, is_mode = config.loss.flow_weighting, config.noise.timestep_sampling == "mode"
    return {
        "ss_model_type": "flux",
        "ss_apply_t5_attn_mask": config.model.t5_attention_mask,
        "ss_guidance_scale": config.model.guidance if run.variant == "dev" else None,
        "ss_timestep_sampling": TIMESTEP_NAMES[config.noise.timestep_sampling],
        "ss_sigmoid_scale": config.noise.sigmoid_scale,
        "ss_discrete_flow_shift": config.noise.timestep_shift,
        "ss_model_prediction_type": "raw",
        "ss_logit_mean": config.noise.sigmoid_mean,
        "ss_mode_scale": config.noise.mode_scale,
        "ss_weighting_scheme": "mode" if is_mode and scheme == "none" else scheme,
    }


def _of_adapter(adapter: AdapterConfig, optimizer: OptimizerConfig, run: RunFacts) -> dict[str, Any]:
    """The kind by the names of the programs that have it, and in ss_network_args all that shaped it."""
    loraplus = optimizer.loraplus_ratio if optimizer.loraplus_ratio != 1 else None
    arguments: dict[str, Any] = ALGORITHMS[adapter.kind] | {
        "conv_dim": adapter.conv_rank or (adapter.rank if adapter.kind == "locon" else None),
        "conv_alpha": (adapter.conv_alpha if adapter.conv_rank else adapter.alpha)
        if adapter.conv_rank or adapter.kind == "locon"
        else None,
        "factor": (adapter.lokr_factor or -1) if adapter.kind == "lokr" else None,
        "rs_lora": adapter.rank_stabilized or None,
        "rank_dropout": adapter.rank_dropout or None,
        "module_dropout": adapter.module_dropout or None,
        "layers": adapter.layers if adapter.layers != "all" else None,
        "train_blocks": adapter.flux_blocks if adapter.flux_blocks != "all" else None,
        "block_dims": dict(adapter.block_ranks) or None,
        "block_lr_weight": dict(adapter.block_learning_rates) or None,
        "loraplus_lr_ratio": loraplus,
    }
    arguments = {name: _as_text(value) for name, value in arguments.items() if value is not None}
    return {
        "ss_network_module": "lycoris.kohya" if "algo" in arguments else "networks.lora",
        "ss_network_dim": run.rank or adapter.rank,
        "ss_network_alpha": run.alpha or adapter.alpha,
        "ss_network_dropout": adapter.dropout or None,
        "ss_scale_weight_norms": adapter.scale_weight_norms or None,
    } | ({"ss_network_args": json.dumps(arguments)} if arguments else {})


def _as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _of_optimizer(optimizer: OptimizerConfig, steps: int, adapter: AdapterConfig) -> dict[str, Any]:
    arguments = ",".join(f"{name}={value}" for name, value in optimizer_arguments(optimizer).items())
    warmup_steps = round(optimizer.warmup_ratio * steps)
    with_warmup = "_with_warmup" if optimizer.lr_scheduler == "constant" and warmup_steps else ""
    return {
        "ss_optimizer": f"{optimizer_class(optimizer)}({arguments})",
        "ss_learning_rate": optimizer.learning_rate,
        "ss_unet_lr": optimizer.learning_rate if adapter.train_denoiser else None,
        "ss_text_encoder_lr": optimizer.text_encoder_learning_rate if adapter.train_text_encoder else None,
        "ss_lr_scheduler": optimizer.lr_scheduler + with_warmup,
        "ss_lr_warmup_steps": warmup_steps,
        "ss_max_grad_norm": optimizer.max_grad_norm,
    }


def _of_noise_and_loss(noise: NoiseConfig, loss: LossConfig) -> dict[str, Any]:
    has_threshold = loss.kind in ("huber", "smooth_l1")
    return {
        "ss_noise_offset": noise.offset if noise.offset or noise.adaptive else None,
        "ss_adaptive_noise_scale": noise.adaptive or None,
        "ss_noise_offset_random_strength": noise.offset_random,
        "ss_multires_noise_iterations": noise.multires_iterations or None,
        "ss_multires_noise_discount": noise.multires_discount if noise.multires_iterations else None,
        "ss_ip_noise_gamma": noise.input_perturbation or None,
        "ss_ip_noise_gamma_random_strength": noise.input_perturbation_random,
        "ss_loss_type": loss.kind,
        "ss_huber_schedule": loss.huber_schedule if has_threshold else None,
        "ss_huber_c": loss.huber_c if has_threshold else None,
        "ss_huber_scale": loss.huber_scale if has_threshold else None,
        "ss_debiased_estimation": loss.weighting == "debiased",
        "ss_min_snr_gamma": loss.min_snr_gamma if loss.weighting == "min_snr" else None,
    }


def _of_data(data: DataConfig) -> dict[str, Any]:
    bounded = data.enable_buckets and data.enlarge_pictures  # else these two settings are not looked at
    return {
        "ss_resolution": (data.resolution, data.resolution),
        "ss_enable_bucket": data.enable_buckets,
        "ss_bucket_no_upscale": not data.enlarge_pictures,
        "ss_min_bucket_reso": data.min_bucket_size if bounded else None,
        "ss_max_bucket_reso": data.max_bucket_size if bounded else None,
        "ss_shuffle_caption": data.shuffle_tags,
        "ss_keep_tokens": data.keep_tokens,
        "ss_caption_dropout_rate": data.caption_dropout,
        "ss_caption_dropout_every_n_epochs": data.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": data.tag_dropout,
        "ss_flip_aug": data.flip,
        "ss_max_token_length": data.max_tokens if data.max_tokens > 75 else None,
        "ss_random_crop": data.random_crop,
        "ss_prior_loss_weight": data.prior_loss_weight,
        "ss_validation_split": data.validation_split,
        "ss_validate_every_n_epochs": 1 if data.validation_split else None,
    }


def _of_dataset(dataset: Dataset, plan: StepPlan, data: DataConfig) -> dict[str, Any]:
    """Folders, buckets and tags, as JSON: what the web UIs' LoRA panels show."""
    folders = _group([item for item in dataset.items if not item.is_regularisation])
    regularisation = _group([item for item in dataset.items if item.is_regularisation])
    tags = {
        name: Counter(tag.lower() for item in items for tag in split_tags(item.caption))
        for name, items in folders.items()
    }
    buckets = {
        str(number): {"resolution": [*count.bucket], "count": count.seen} for number, count in enumerate(plan.buckets)
    }
    info = {"buckets": buckets, "mean_img_ar_error": plan.mean_aspect_error}
    return {
        "ss_dataset_dirs": json.dumps(_count(folders)),
        "ss_reg_dataset_dirs": json.dumps(_count(regularisation)),
        "ss_num_train_images": sum(looks_per_epoch(item, data) for item in dataset.items if not item.is_regularisation),
        "ss_num_reg_images": sum(looks_per_epoch(item, data) for item in dataset.items if item.is_regularisation),
        "ss_num_validation_images": plan.held_out,
        "ss_tag_frequency": json.dumps(tags, ensure_ascii=False),
        "ss_bucket_info": json.dumps(info),
    }


def _group(items: list[ImageItem]) -> dict[str, list[ImageItem]]:
    folders: dict[str, list[ImageItem]] = {}
    for item in items:
        folders.setdefault(item.path.parent.name, []).append(item)
    return folders


def _count(folders: dict[str, list[ImageItem]]) -> dict[str, dict[str, int]]:
    return {name: {"n_repeats": items[0].repeats, "img_count": len(items)} for name, items in folders.items()}


def _modelspec(config: TrainConfig, run: RunFacts) -> dict[str, Any]:
    """Stability's model metadata, version 1.0.1 (github.com/Stability-AI/ModelSpec)."""
    side = config.data.resolution
    values = {
        "sai_model_spec": "1.0.1",
        "architecture": _family_facts(config, run)["architecture"] + "/lora",
        "implementation": IMPLEMENTATIONS[config.model.family],
        "implementation_version": f"lora_nb/{__version__}",
        "title": run.output_name,
        "resolution": f"{side}x{side}",
        "date": datetime.fromtimestamp(run.finished_at, UTC).isoformat(timespec="seconds"),
    }
    if run.prediction != "flow":  # kohya says nothing of it for Flux
        values["prediction_type"] = run.prediction
    if config.model.clip_skip > 1:
        values["encoder_layer"] = str(config.model.clip_skip)
    if config.data.trigger_words:
        values["trigger_phrase"] = ", ".join(config.data.trigger_words)
    return {f"modelspec.{key}": value for key, value in values.items()}
