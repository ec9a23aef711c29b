"""A tiny, random Florence-2 of transformers' real class, with a processor that reads letter by letter."""

import json
from pathlib import Path

import torch
from transformers import (
    BartConfig,
    BartTokenizer,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Florence2VisionConfig,
)

from tests.tiny_models import make_vocabulary

SIDE, WIDTH = 32, 16


def save_tiny_florence(folder: Path) -> Path:
    """Write the model and its processor as the hub's folders hold them."""
    processor = make_processor(folder)
    size = len(processor.tokenizer)
    text = BartConfig(
        vocab_size=size,
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    vision = Florence2VisionConfig(
        depths=(1, 1),
        patch_size=(7, 3),
        patch_stride=(4, 2),
        patch_padding=(3, 1),
        patch_prenorm=(False, True),
        embed_dim=(8, 16),
        num_heads=(2, 2),
        num_groups=(2, 2),
        window_size=4,
        projection_dim=WIDTH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Florence2Config(text_config=text, vision_config=vision, image_token_id=size - 1)
        model = Florence2ForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_processor(folder: Path) -> Florence2Processor:
    """A processor whose tokenizer knows single bytes only; the last token stands for the picture."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *list(make_vocabulary())[:256]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = BartTokenizer.from_pretrained(folder, extra_special_tokens={"image_token": "<image>"})
    pictures = CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, resample=3, image_seq_length=(SIDE // 8) ** 2 + 1
    )
    pictures.image_seq_length = (SIDE // 8) ** 2 + 1
    return Florence2Processor(image_processor=pictures, tokenizer=tokenizer)
