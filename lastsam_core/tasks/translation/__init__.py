"""Translation: the sequence task of Kwon et al. 2021, sec. 5.3, on any two files of parallel text.

text.py -> vocabulary.py -> batches.py -> task.py feed the loop that trains everything; decoding.py and bleu.py say how
good the outcome is. The extra `translation` has the two packages that this needs.
"""

from __future__ import annotations

from lastsam_core.tasks.translation.batches import Pairs, TranslationBatches
from lastsam_core.tasks.translation.bleu import score_bleu
from lastsam_core.tasks.translation.task import Translation
from lastsam_core.tasks.translation.text import ParallelText, read_parallel
from lastsam_core.tasks.translation.training import refine_translation, train_translation, translation_recipe
from lastsam_core.tasks.translation.translator import Translator, load_translator, save_translator
from lastsam_core.tasks.translation.vocabulary import Vocabulary

__all__ = [
    "Pairs",
    "ParallelText",
    "Translation",
    "TranslationBatches",
    "Translator",
    "Vocabulary",
    "load_translator",
    "read_parallel",
    "refine_translation",
    "save_translator",
    "score_bleu",
    "train_translation",
    "translation_recipe",
]
