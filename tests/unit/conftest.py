"""A service folder to build from: a real, tiny tokenizer, two labels, and files in the shape of a SavedModel."""

from pathlib import Path

import pytest
from protobuf_savedmodel import TEXT_INPUTS, write_savedmodel
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SERVICE = """\
name = "spam"
task = "text-classification"
"""
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "free": 2, "prize": 3, "hello": 4, "[CLS]": 5, "[SEP]": 6}


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Words separated by blanks; knows `free` (2), `prize` (3) and `hello` (4)."""
    made = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


@pytest.fixture
def framing_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Puts `[CLS]` (5) before and `[SEP]` (6) after every text, as BERT's does."""
    special = [(token, VOCABULARY[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return tokenizer


@pytest.fixture
def service_folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """The smallest complete service folder: every other key has its default."""
    folder = tmp_path / "services" / "spam"
    write_savedmodel(folder / "model.savedmodel", TEXT_INPUTS, {"logits": ("FP32", [-1, 2])})
    (folder / "service.toml").write_text(SERVICE, encoding="utf-8")
    (folder / "labels.txt").write_text("ham\nspam\n", encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
