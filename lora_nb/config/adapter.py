"""Settings of the adapter: the small matrices that are trained."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lora_nb.config.base import Section, Table, setting

_NO_CONVOLUTIONS = {
    "lora": "A plain LoRA leaves 3x3 convolutions alone. Choose locon to adapt them.",
    "flux": "Flux has no 3x3 convolutions.",
}
_ONLY_LOKR = dict.fromkeys(("lora", "locon", "loha", "dora"), "Only a LoKr is a Kronecker product.")
_MULTIPLIED_OUT = "Nothing passes between its matrices: they are multiplied out first. Use rank or module dropout."
_ONLY_FLUX = dict.fromkeys(("sd1", "sd2", "sdxl"), "Only Flux has double and single blocks.")
_WHOLE_WEIGHTS = "DoRA measures the length of whole weights, which must not change by chance."
_BLOCKS = (
    "Names are diffusers' or kohya's: down_blocks.1, mid_block, up_blocks.2.attentions.0, input_blocks.4, "
    "double_blocks.3, IN04, MID, OUT05; lora_te or lora_te2.encoder.layers.3 for text encoders. The longest that fits "
    "counts."
)


class AdapterConfig(Section):
    """The small matrices that are trained: how large, how strong, and where they sit."""

    kind: Literal["lora", "locon", "loha", "lokr", "dora"] = setting(
        "lora",
        "Adapter",
        "The kind of low-rank update. lora is the one that every program loads, and the tutorial's. locon adapts 3x3 "
        "convolutions too: more of the style, a larger file. loha holds more at the same rank, and learns slower. lokr "
        "makes the smallest files. dora also learns how long each weight is; loaders disagree about it, so it looks "
        "different from program to program.",
        kohya="LoRA_type, network_module",
        choices_not_for={"locon": {"flux": "Flux has no convolutions: it would be a plain LoRA."}},
    )
    rank: int = setting(
        16,
        "Rank",
        "Width of the small matrices: how much the LoRA can hold. The tutorial stays at 32 or less; the file grows "
        "with it.",
        kohya="network_dim",
        ge=1,
        le=1024,
    )
    alpha: float = setting(
        8.0,
        "Alpha",
        "The LoRA's strength is alpha / rank. The tutorial sets alpha to half of the rank. A LoKr whose matrices are "
        "both whole has strength 1, whatever alpha is.",
        kohya="network_alpha",
        gt=0,
        le=1024,
    )
    conv_rank: int = setting(
        0,
        "Convolution rank",
        "Rank of the matrices on 3x3 convolutions; the other layers of their blocks get the rank above. Half of the "
        "rank or less is usual; time and file grow. 0 leaves these blocks out; but a locon, which is made for them, "
        "then takes the rank and alpha above.",
        kohya="conv_dim",
        not_for=_NO_CONVOLUTIONS,
        ge=0,
        le=1024,
    )
    conv_alpha: float = setting(
        1.0,
        "Convolution alpha",
        "The same as alpha, for 3x3 convolutions: their strength is this / convolution rank.",
        kohya="conv_alpha",
        advanced=True,
        not_for=_NO_CONVOLUTIONS,
        gt=0,
        le=1024,
    )
    lokr_factor: int = setting(
        0,
        "LoKr factor",
        "Size of the smaller of LoKr's two matrices: small factors mean large files that hold more (8 is usual). 0 "
        "takes the number nearest to the square root of each layer's width, which makes the smallest file.",
        kohya="factor (0 here is -1 there)",
        not_for=_ONLY_LOKR,
        ge=0,
        le=512,
    )
    rank_stabilized: bool = setting(
        False,
        "Rank-stabilised",
        "Strength is alpha / square root of the rank (rsLoRA), so that a higher rank is not a weaker one. Written into "
        "the file so that every program gets it right. Turn alpha down when you turn this on.",
        kohya="rs_lora",
        advanced=True,
    )
    dropout: float = setting(
        0.0,
        "Dropout",
        "Share of the values between the two matrices that is dropped at each step, against learning by heart: 0.1 is "
        "usual. Never in pictures.",
        kohya="network_dropout",
        advanced=True,
        not_for={"loha": _MULTIPLIED_OUT, "lokr": _MULTIPLIED_OUT, "dora": _WHOLE_WEIGHTS},
        ge=0,
        le=0.9,
    )
    rank_dropout: float = setting(
        0.0,
        "Rank dropout",
        "Share of the ranks that is dropped for each picture at each step: 0.1 to 0.3 is usual. In a LoHa or LoKr, "
        "whole rows of the update are dropped.",
        kohya="rank_dropout",
        advanced=True,
        not_for={"dora": _WHOLE_WEIGHTS},
        ge=0,
        le=0.9,
    )
    module_dropout: float = setting(
        0.0,
        "Module dropout",
        "Share of the layers whose matrices are left out at each step: 0.1 to 0.3 is usual.",
        kohya="module_dropout",
        advanced=True,
        ge=0,
        le=0.9,
    )
    train_denoiser: bool = setting(
        True,
        "Train the denoiser",
        "Adapt the U-Net or transformer: what pictures look like. Without it, only the meaning of words is learned.",
        kohya="network_train_text_encoder_only (the opposite)",
        advanced=True,
    )
    train_text_encoder: bool = setting(
        True,
        "Train the text encoder",
        "Also adapt how words are understood. Helps a new trigger word; turn it off when captions are long "
        "sentences or memory is short.",
        kohya="network_train_unet_only (the opposite)",
    )
    layers: Literal["all", "attention", "attention_mlp"] = setting(
        "all",
        "Layers",
        "Where the matrices sit: all is what other trainers do. attention alone makes small files that change less "
        "(style, composition); attention_mlp adds the layers that hold knowledge.",
        advanced=True,
        not_for={"locon": "A locon adapts the blocks of convolutions too. Choose lora for fewer layers."},
    )
    flux_blocks: Literal["all", "double", "single"] = setting(
        "all",
        "Flux blocks",
        "Which of Flux's two kinds of blocks to adapt: the 19 double ones, where text and picture meet, the 38 single "
        "ones, or all.",
        kohya="train_blocks",
        advanced=True,
        not_for=_ONLY_FLUX,
    )
    block_ranks: Annotated[dict[str, Annotated[int, Field(ge=0, le=1024)]], AfterValidator(Table)] = setting(
        {},
        "Rank by block",
        'Another rank for some blocks: {"down_blocks.1": 8, "mid_block": 4}. 0 leaves a block out; alpha stays. 3x3 '
        f"convolutions keep theirs. {_BLOCKS}",
        kohya="block_dims",
        advanced=True,
    )
    block_learning_rates: Annotated[dict[str, Annotated[float, Field(ge=0, le=100)]], AfterValidator(Table)] = setting(
        {},
        "Learning rate by block",
        'Some blocks learn faster or slower: {"up_blocks.3": 0.5} is half the rate. 0 leaves a block out, to the file. '
        f"{_BLOCKS}",
        kohya="down_lr_weight, mid_lr_weight, up_lr_weight",
        advanced=True,
    )
    scale_weight_norms: float = setting(
        0.0,
        "Longest update",
        "After each step, updates longer than this are shortened to it, against burnt pictures: 1 is usual. 0 turns it "
        "off.",
        kohya="scale_weight_norms",
        advanced=True,
        not_for={
            "loha": "The length of a LoHa's update is only known when it is multiplied out, which is slow.",
            "dora": "DoRA learns the length of each weight itself.",
        },
        ge=0,
        le=1000,
    )
    continue_from: str = setting(
        "",
        "Continue from",
        "A LoRA file (.safetensors) of the same kind to go on from, made by any program. The layers in it keep their "
        "rank and alpha, whatever is set here; layers that it lacks start anew.",
        kohya="network_weights, dim_from_weights",
        advanced=True,
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not (self.train_denoiser or self.train_text_encoder):
            raise ValueError("turn on train_denoiser or train_text_encoder: otherwise nothing is trained")
        if self.kind != "lora" and self.conv_alpha != 1 and not self.conv_rank:
            raise ValueError("conv_alpha needs a conv_rank of 1 or more")
        if self.conv_rank and self.layers != "all":
            raise ValueError("3x3 convolutions are not among the chosen layers: set layers to all, or conv_rank to 0")
        return self
