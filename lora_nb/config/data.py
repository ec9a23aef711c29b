"""Settings of pictures and captions."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from lora_nb.config.base import Section, setting


class DataConfig(Section):
    """How pictures and captions become training examples."""

    trigger_words: tuple[str, ...] = setting(
        (),
        "Trigger words",
        "The words that call the subject. They come first in every caption, the same number everywhere, and should "
        "mean nothing to the base model.",
        kohya="(in the captions)",
    )
    keep_tokens: int = setting(
        1,
        "Tags kept in front",
        "How many tags at the start of a caption are never shuffled or dropped. Use the number of trigger words.",
        kohya="keep_tokens",
        ge=0,
        le=32,
    )
    keep_tokens_separator: str = setting(
        "|||",
        "Keep separator",
        "A mark in a caption that ends the tags kept in front, instead of counting them: 'mochi ||| smile, forest'. "
        "What stands behind a second one is kept at the end. The mark itself is never trained. Empty: no mark.",
        kohya="keep_tokens_separator",
        advanced=True,
        off="",
        max_length=16,
    )
    shuffle_tags: bool = setting(
        True,
        "Shuffle tags",
        "Reorder the other tags each time a picture is seen, so that no tag matters more for standing first. On for "
        "tags, off for sentences.",
        kohya="shuffle_caption",
    )
    caption_prefix: str = setting(
        "",
        "Caption prefix",
        "Put in front of every caption and kept there: a trigger word, 'a photo of mochi'. Its tags count among the "
        "kept ones. A comma is put behind it if it ends without punctuation. Not for regularisation pictures.",
        kohya="caption_prefix",
        advanced=True,
        max_length=1000,
    )
    caption_suffix: str = setting(
        "",
        "Caption suffix",
        "Put behind every caption and kept there. Not for regularisation pictures.",
        kohya="caption_suffix",
        advanced=True,
        max_length=1000,
    )
    tag_dropout: float = setting(
        0.0,
        "Tag dropout",
        "Share of the other tags that is left out each time a picture is seen, each by its own chance, so that the "
        "LoRA does not depend on any of them. Kept tags always stay. 0.1 is much.",
        kohya="caption_tag_dropout_rate",
        advanced=True,
        ge=0,
        le=1,
    )
    wildcards: bool = setting(
        False,
        "Wildcards",
        "Choose anew each time a picture is seen: {red|blue|dark {green|brown}} becomes one of the choices, and of a "
        "caption file with several lines one line is taken (else they are joined). Write \\{ for a real brace.",
        kohya="enable_wildcard",
        advanced=True,
    )
    weighted_captions: bool = setting(
        False,
        "Weights in captions",
        "Read (word:1.3), (word) and [word] as the web UIs do: the word counts more or less. Off: brackets are read as "
        "text. The sample pictures' prompts are read the same way.",
        kohya="weighted_captions",
        advanced=True,
        not_for={"flux": "Flux reads captions with T5, which knows no weights."},
    )
    max_tokens: Literal[75, 150, 225] = setting(
        75,
        "Longest caption",
        "How many tokens (about three for each tag) are read of a caption. More are read in pieces of 75 that are put "
        "in a row, which costs a little time and memory. Raise it if the check finds captions that are cut.",
        kohya="max_token_length",
        advanced=True,
        not_for={"flux": "Flux reads captions with T5: its length is model.t5_tokens."},
    )
    cache_text: Literal["auto", "always", "never"] = setting(
        "auto",
        "Keep encoded captions",
        "Encode every caption of the run once, before it starts, and keep them on disk: the text encoder is then not "
        "needed any more and leaves the memory. Shuffled captions work too, since all are known beforehand. auto: if "
        "they take less than 4 GB. Without effect while the text encoder is trained.",
        kohya="cache_text_encoder_outputs, cache_text_encoder_outputs_to_disk",
        advanced=True,
        only_with="adapter.train_text_encoder=False",
    )
    caption_dropout: float = setting(
        0.0,
        "Caption dropout",
        "Share of times that a picture is shown without its caption. A little (0.05) helps a style; a subject needs "
        "none.",
        kohya="caption_dropout_rate",
        advanced=True,
        ge=0,
        le=1,
    )
    caption_dropout_every_n_epochs: int = setting(
        0,
        "Epochs without captions",
        "In every n-th epoch all pictures are shown without their captions: 5 means epochs 5, 10, 15. 0: in none.",
        kohya="caption_dropout_every_n_epochs",
        advanced=True,
        ge=0,
        le=1000,
    )
    resolution: int = setting(
        512,
        "Resolution",
        "Side in pixels of the square whose area every bucket stays within: 512 for SD 1.x, 64 for the workshop "
        "model. More costs memory and time with its square.",
        kohya="max_resolution",
        ge=64,
        le=2048,
    )
    enable_buckets: bool = setting(
        True,
        "Aspect-ratio buckets",
        "Group pictures by shape so that little is cropped away. Off: every picture is cropped to a square.",
        kohya="enable_bucket",
    )
    bucket_step: int = setting(
        64,
        "Bucket step",
        "Bucket sides are multiples of this many pixels: 64 for SD 1.x, 16 for the workshop model.",
        kohya="bucket_reso_steps",
        advanced=True,
        ge=8,
        le=256,
        multiple_of=8,
    )
    min_bucket_size: int = setting(
        256,
        "Smallest bucket side",
        "No bucket is narrower than this. Only used when small pictures may be enlarged.",
        kohya="min_bucket_reso",
        advanced=True,
        ge=8,
        le=2048,
    )
    max_bucket_size: int = setting(
        1024,
        "Largest bucket side",
        "No bucket is longer than this. Only used when small pictures may be enlarged.",
        kohya="max_bucket_reso",
        advanced=True,
        ge=8,
        le=4096,
    )
    enlarge_pictures: bool = setting(
        True,
        "Enlarge small pictures",
        "Let a picture smaller than its bucket be enlarged to it. Off: it keeps its size, in a bucket of its own.",
        kohya="bucket_no_upscale (the opposite)",
        advanced=True,
    )

    extra_resolutions: tuple[int, ...] = setting(
        (),
        "Extra resolutions",
        "Show every picture at these resolutions, too, so that the LoRA works at several sizes. An epoch gets longer "
        "by as much; the plan counts it. The bounds of the bucket sides grow and shrink with the resolution.",
        kohya="(several datasets with other resolutions)",
        advanced=True,
    )
    flip: bool = setting(
        False,
        "Mirror",
        "Show a picture mirrored half of the times, by chance: twice the pictures for free. Not for a subject whose "
        "left and right differ (text, a parting, a scar). Caching takes twice the time and space.",
        kohya="flip_aug",
        advanced=True,
    )
    random_crop: bool = setting(
        False,
        "Random crop",
        "Where a picture is larger than its bucket, cut off a random part each time instead of equally much at both "
        "ends. The whole picture is encoded once and the crop is cut from that, in steps of one latent cell (8 "
        "pixels), so caching works and only takes more space, by the share that is cut off.",
        kohya="random_crop",
        advanced=True,
    )
    loss_mask: Literal["none", "alpha", "files"] = setting(
        "none",
        "Loss mask",
        "Learn only from a part of each picture. alpha: where it is not transparent. files: where the mask beside it "
        "is white, 001.mask.png or masks/001.png for 001.png. Pictures without a mask count as a whole. The loss is "
        "the mean over the mask, so that a small one teaches as strongly as a large one.",
        kohya="masked_loss, alpha_mask",
        advanced=True,
    )
    prior_loss_weight: float = setting(
        1.0,
        "Regularisation weight",
        "How much the pictures in the project's folder regularisation/<repeats>_<class> count. They show the class in "
        "general (any dog, not yours), so that the LoRA does not turn every dog into yours; each is seen as often as "
        "its folder says.",
        kohya="prior_loss_weight",
        advanced=True,
        ge=0,
        le=10,
    )
    validation_split: float = setting(
        0.0,
        "Held-out share",
        "Share of the pictures that is never trained on. After every epoch their loss is measured, at noise levels "
        "that never change: where it rises while the training's falls, the LoRA learns the pictures by heart. Needs "
        "some 30 pictures to mean anything. Copies of a picture stay on one side.",
        kohya="validation_split",
        advanced=True,
        ge=0,
        le=0.5,
    )

    @field_validator("trigger_words")
    @classmethod
    def trigger_words_are_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word.strip() or "," in word:
                raise ValueError("each trigger word is one tag: not empty and without a comma")
        return tuple(word.strip() for word in words)

    @model_validator(mode="after")
    def bucket_sizes_fit(self) -> Self:
        if self.min_bucket_size > self.max_bucket_size:
            raise ValueError(
                f"min_bucket_size {self.min_bucket_size} is larger than max_bucket_size {self.max_bucket_size}"
            )
        if self.resolution < self.bucket_step:
            raise ValueError(f"resolution {self.resolution} is smaller than bucket_step {self.bucket_step}")
        for side in self.extra_resolutions:
            if not self.bucket_step <= side <= 2048:
                raise ValueError(f"extra_resolutions holds {side}: take {self.bucket_step} to 2048")
        if len({self.resolution, *self.extra_resolutions}) <= len(self.extra_resolutions):
            raise ValueError("extra_resolutions holds the resolution itself, or one number twice")
        return self
